import assert from "node:assert/strict";
import { test } from "node:test";
import { landscape } from "../../cli/plots/landscape.js";
import { lineChart } from "../../cli/plots/line-chart.js";
import { toPng } from "../../cli/plots/png.js";
import { terminalChart } from "../../cli/plots/terminal-chart.js";

const chart = lineChart({
  title: `Accuracy <of> "A & B"`,
  x: "round",
  y: "accuracy (%)",
  series: [
    {
      name: "A + MAN",
      family: "A",
      points: [
        { x: 1, y: 10, deviation: 1 },
        { x: 2, y: 20, deviation: 2 },
      ],
    },
    { name: "A", family: "A", dashed: true, points: [{ x: 1, y: 8 }] },
    { name: "B", family: "B", points: [] },
  ],
  notes: ["dashed: without MAN"],
});

/**
 * The names of the elements, after a check that every one is closed in its turn and every attribute
 * is whole.
 */
function elementsOf(svg: string): string[] {
  const names: string[] = [];
  const open: string[] = [];
  const rest = svg
    .trim()
    .replace(
      /<(\/?)([a-zA-Z]+)((?: [a-zA-Z0-9-]+="[^"<]*")*)(\/?)>/g,
      (_, closing, name, _attributes, empty) => {
        if (closing) assert.equal(open.pop(), name);
        else {
          names.push(name);
          if (!empty) open.push(name);
        }
        return "";
      },
    );
  assert.deepEqual(open, []);
  assert.doesNotMatch(rest, /[<>]/);
  assert.doesNotMatch(svg, /NaN|undefined|Infinity/);
  return names;
}

/** Width and height of a PNG, from its header chunk. */
function sizeOf(png: Uint8Array): [number, number] {
  assert.deepEqual(
    [...png.slice(1, 4)],
    [..."PNG"].map((c) => c.charCodeAt(0)),
  );
  const view = new DataView(png.buffer, png.byteOffset);
  return [view.getUint32(16), view.getUint32(20)];
}

test("a line chart is whole markup and names its axes and every series", () => {
  elementsOf(chart);
  for (const label of ["round", "accuracy (%)", "A + MAN", "dashed: without MAN"])
    assert.ok(chart.includes(`>${label}</text>`), label);
  assert.ok(chart.includes("Accuracy &lt;of&gt; &quot;A &amp; B&quot;"));
});

test("no series, one point, equal values: still a chart", () => {
  for (const points of [
    [],
    [{ x: 3, y: 0 }],
    [
      { x: 1, y: 5 },
      { x: 2, y: 5 },
    ],
  ])
    elementsOf(
      lineChart({
        title: "t",
        x: "x",
        y: "y",
        series: [{ name: "s", family: "s", points }],
      }),
    );
  elementsOf(lineChart({ title: "t", x: "x", y: "y", series: [] }));
});

test("a logarithmic axis names the powers of ten, at equal distances", () => {
  const svg = lineChart({
    title: "t",
    x: "time",
    y: "percent",
    narrow: true,
    logarithmic: (x) => `${x} ms`,
    series: [
      {
        name: "s",
        family: "s",
        points: [
          { x: 1, y: 0 },
          { x: 900, y: 100 },
        ],
      },
    ],
  });
  elementsOf(svg);
  const ticks = [...svg.matchAll(/<text[^>]* x="([\d.]+)"[^>]*>([\d.]+ ms)<\/text>/g)].map(
    ([, x, name]) => [Number(x), name] as const,
  );
  const [[left], , , [right]] = ticks;
  const third = (right - left) / 3;
  ["1 ms", "10 ms", "100 ms", "1000 ms"].forEach((name, i) => {
    assert.equal(ticks[i][1], name);
    assert.ok(Math.abs(ticks[i][0] - left - i * third) < 0.1, name);
  });
});

test("a landscape has a ring for every level, also where the loss overflows", () => {
  const coordinates = [-1, -0.5, 0, 0.5, 1];
  const losses = coordinates.map((b) =>
    coordinates.map((a) => (a === 1 && b === 1 ? Infinity : 0.1 + a * a + b * b)),
  );
  const names = elementsOf(landscape("slice", { coordinates, losses }));
  assert.ok(names.filter((name) => name === "path").length > 10);
  elementsOf(
    landscape("flat", {
      coordinates,
      losses: losses.map((row) => row.map(() => 0)),
    }),
  );
});

test("two landscapes on one colour scale have the same colours and levels", () => {
  const coordinates = [-1, 0, 1];
  const slice = (most: number) => ({
    coordinates,
    losses: coordinates.map((b) => coordinates.map((a) => 0.5 + (most * (a * a + b * b)) / 2)),
  });
  const barOf = (most: number) =>
    [...landscape("slice", slice(most), [0.25, 8]).matchAll(/<rect [^>]*width="22"[^>]*>/g)].map(
      ([bar]) => bar,
    );
  assert.equal(barOf(1).length, 14);
  assert.deepEqual(barOf(1), barOf(5));
});

test("the PNG has twice the pixels of the SVG, and is not blank", async () => {
  const [, width, height] = /width="([\d.]+)" height="([\d.]+)"/.exec(chart) ?? [];
  const png = await toPng(chart);
  const [w, h] = sizeOf(png);
  assert.ok(Math.abs(w - 2 * Number(width)) <= 1 && Math.abs(h - 2 * Number(height)) <= 1);
  const blank = await toPng(chart.replace(/<(text|path|line)[^]*<\/svg>/, "</svg>"));
  assert.ok(png.length > 4 * blank.length);
});

test("a chart of characters tells its curves apart without colours, and both axes have ticks", () => {
  const chart = terminalChart(
    [
      { mark: "o", name: "falls", points: [10, 0] },
      { mark: "x", name: "rises", points: [0, 10] },
    ],
    40,
  );
  const lines = chart.split("\n");
  const body = lines.slice(0, 12).map((line) => line.slice(9).padEnd(31));
  assert.equal(body[0][0] + body[0][30], "ox");
  assert.equal(body[11][0] + body[11][30], "xo");
  // They meet in the middle.
  assert.match(body.map((line) => line[15]).join(""), /\*/);
  for (const label of ["10", "0"])
    assert.ok(lines.some((line) => line.trim().startsWith(`${label} ┤`)));
  assert.match(chart, /\n {9}1 +2\n/);
  for (const name of ["o falls", "x rises", "* both"]) assert.ok(chart.includes(name), name);
});

test("a chart of characters fits its columns, whatever the curves", () => {
  const long = Array.from({ length: 300 }, (_, i) => 100 * Math.sin(i));
  for (const columns of [40, 80])
    for (const points of [[], [5], [5, 5], long])
      for (const line of terminalChart([{ mark: "o", name: "s", points }], columns).split("\n"))
        assert.ok(line.length <= columns && !/NaN|undefined/.test(line), line);
});
