import { scaleLinear, scaleLog } from "d3-scale";
import { axes, element, path, picture, text, widthOf } from "./svg.js";

/** One line of a chart. */
export interface Series {
  readonly name: string;
  /** Series of one family (a method with and without MAN) have one colour and one kind of mark. */
  readonly family: string;
  /** Drawn dashed, with hollow marks. */
  readonly dashed?: boolean;
  readonly points: readonly Point[];
}

export interface Point {
  readonly x: number;
  readonly y: number;
  /** Half the height of the error bar here: a standard deviation. Drawn where a mark is. */
  readonly deviation?: number;
}

interface LineChart {
  readonly title: string;
  /** What is measured along each axis, with its unit. */
  readonly x: string;
  readonly y: string;
  readonly series: readonly Series[];
  /** Said below the legend: what dashes and bars mean. */
  readonly notes?: readonly string[];
  /**
   * Where x is positive and of many orders of magnitude: a logarithmic axis, and what stands at a
   * value of it.
   */
  readonly logarithmic?: (x: number) => string;
  /** Where values are never negative, and differences matter less than sizes: y from zero. */
  readonly fromZero?: boolean;
  /** For a narrow place: the legend below the data, not beside them. */
  readonly narrow?: boolean;
}

/**
 * Okabe and Ito's colours, which people with any colour vision can tell apart; without the yellow
 * that white swallows.
 */
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];

const polygon = (corners: number, radius: number, turned: number) =>
  Array.from({ length: corners }, (_, i) => {
    const angle = 2 * Math.PI * (i / corners + turned);
    return [radius * Math.sin(angle), -radius * Math.cos(angle)] as const;
  });

/** Marks around the origin: colour is never the only difference. */
const MARKS = [
  polygon(24, 4, 0),
  polygon(4, 5, 1 / 8),
  polygon(3, 5.4, 0),
  polygon(4, 5.4, 0),
  polygon(3, 5.4, 1 / 2),
  polygon(3, 5.4, 1 / 4),
];

/** About so many marks on a line; more would hide it. */
const MARKS_A_LINE = 10;

/** Half the width of an error bar's ends, and how far bars at the same place stand apart. */
const [CAP, BESIDE] = [4, 4];

const LEFT = 78;
const TOP = 54;
const MARGIN = 14;
/** Half the width of the number below the right end. */
const TICK = 26;
/** Of ticks and label below the data. */
const AXIS = 62;
const LEGEND_ROW = 26;
/** Pixels of the data; where a legend stands beside them, they are at least as high. */
const WIDE = { width: 620, height: 400 };
const NARROW = { width: 360, height: 260 };

/**
 * A chart as SVG: axes with labels, one line a series, the legend beside the data or, in a narrow
 * one, below.
 */
export function lineChart(chart: LineChart): string {
  const { title, series, notes = [], narrow = false, fromZero = false } = chart;
  const { width, height } = narrow ? NARROW : WIDE;
  const rows = series.length + notes.length;
  const area = {
    left: LEFT,
    top: TOP,
    right: LEFT + width,
    bottom: TOP + Math.max(height, narrow ? 0 : LEGEND_ROW * (rows + 1)),
  };
  const all = series.flatMap(({ points }) => points);
  const { scale: x, ...xTicks } = horizontal(
    all.map((point) => point.x),
    [area.left, area.right],
    chart.logarithmic,
  );
  const heights = all.flatMap(({ y, deviation = 0 }) => [y - deviation, y + deviation]);
  const y = scaleLinear(fromZero ? [0, Math.max(0, ...heights) || 1] : extent(heights), [
    area.bottom,
    area.top,
  ]).nice();

  const styles = stylesOf(series);
  const lines = series.map(({ points }, i) =>
    element("path", {
      d: path(points.map((point) => [x(point.x), y(point.y)])),
      ...styles[i].line,
    }),
  );
  const marks = series.flatMap(({ points }, i) => {
    const every = Math.ceil(points.length / MARKS_A_LINE);
    // Staggered, so that the marks of lines that run together do not hide each other, and beside
    // each other where bars would lie on one another.
    const first = points.length > MARKS_A_LINE ? i % every : 0;
    const barred = points.some(({ deviation = 0 }) => deviation > 0);
    const aside = barred ? BESIDE * (i - (series.length - 1) / 2) : 0;
    return points
      .filter((_, j) => j % every === first)
      .map((point) => {
        const at = x(point.x) + aside;
        return barAt(at, point, y, styles[i].colour) + styles[i].markAt(at, y(point.y));
      });
  });

  const left = narrow ? MARGIN : area.right + 26;
  const first = narrow ? area.bottom + AXIS : area.top + 14;
  const rowAt = (row: number) => first + LEGEND_ROW * row;
  const legendWidth = Math.max(
    0,
    ...series.map(({ name }) => 50 + widthOf(name)),
    ...notes.map(widthOf),
  );
  return picture(
    Math.max(area.right + TICK, left + legendWidth + MARGIN),
    narrow ? rowAt(rows) : area.bottom + AXIS,
    title,
    `${chart.y} against ${chart.x}: ${series.map(({ name }) => name).join(", ")}`,
    axes(
      area,
      { label: chart.x, scale: x, ...xTicks },
      {
        label: chart.y,
        scale: y,
        ticks: 8,
        whole: areWhole(all.map((point) => point.y)),
      },
    ),
    ...lines,
    ...marks,
    ...legendOf(series, styles, notes, left, rowAt),
  );
}

/** How the line and the marks of each series look. */
function stylesOf(series: readonly Series[]) {
  const families = [...new Set(series.map(({ family }) => family))];
  return series.map(({ family, dashed = false }) => {
    const number = families.indexOf(family);
    const colour = COLOURS[number % COLOURS.length];
    const mark = MARKS[number % MARKS.length];
    return {
      colour,
      line: {
        fill: "none",
        stroke: colour,
        "stroke-width": 2,
        "stroke-linejoin": "round",
        ...(dashed ? { "stroke-dasharray": "6 4" } : {}),
      },
      markAt: (cx: number, cy: number) =>
        element("path", {
          d: path(
            mark.map(([dx, dy]) => [cx + dx, cy + dy]),
            true,
          ),
          fill: dashed ? "#ffffff" : colour,
          stroke: colour,
          "stroke-width": 1.5,
        }),
    };
  });
}

type Style = ReturnType<typeof stylesOf>[number];

/** One deviation up and down from a point. */
function barAt(
  at: number,
  { y: value, deviation = 0 }: Point,
  y: (value: number) => number,
  colour: string,
): string {
  if (deviation === 0) return "";
  const [top, bottom] = [y(value + deviation), y(value - deviation)];
  const across = (height: number) =>
    path([
      [at - CAP, height],
      [at + CAP, height],
    ]);
  return element("path", {
    d: `${across(top)}${path([
      [at, top],
      [at, bottom],
    ])}${across(bottom)}`,
    fill: "none",
    stroke: colour,
    "stroke-width": 1.3,
  });
}

/** A row for each series, and the notes below them. */
function legendOf(
  series: readonly Series[],
  styles: readonly Style[],
  notes: readonly string[],
  left: number,
  rowAt: (row: number) => number,
): string[] {
  const names = series.map(
    ({ name }, i) =>
      element("path", {
        d: path([
          [left, rowAt(i)],
          [left + 40, rowAt(i)],
        ]),
        ...styles[i].line,
      }) +
      styles[i].markAt(left + 20, rowAt(i)) +
      text({ x: left + 50, y: rowAt(i) + 4.5 }, name),
  );
  const remarks = notes.map((note, i) =>
    text(
      {
        x: left,
        y: rowAt(series.length + i) + 10,
        "font-size": 12,
        fill: "#555",
      },
      note,
    ),
  );
  return [...names, ...remarks];
}

/** The scale along x, and how its ticks are made. */
function horizontal(
  values: readonly number[],
  pixels: [number, number],
  nameOf: LineChart["logarithmic"],
) {
  const ticks = 8;
  if (nameOf === undefined)
    return {
      scale: scaleLinear(extent(values), pixels),
      ticks,
      whole: areWhole(values),
    };
  const low = Math.min(...values);
  const high = Math.max(...values);
  const range = values.length === 0 ? [1, 10] : low < high ? [low, high] : [low / 2, 2 * low];
  const scale = scaleLog(range, pixels).nice();
  // A line at 1, 2 ... 9 times each power of ten; named are the first ones only.
  const named = scale.tickFormat(3);
  const name = (value: number) => (named(value) === "" ? "" : nameOf(value));
  return { scale, ticks, name };
}

const areWhole = (values: readonly number[]) => values.length > 0 && values.every(Number.isInteger);

/** The range of the values; a little wider where it would be a point. */
function extent(values: readonly number[]): [number, number] {
  if (values.length === 0) return [0, 1];
  const low = Math.min(...values);
  const high = Math.max(...values);
  return low === high ? [low - 0.5, high + 0.5] : [low, high];
}
