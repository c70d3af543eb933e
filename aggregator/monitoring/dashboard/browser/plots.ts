import uPlot from "uplot";
import { axisOf, labelsOf, STEPS, type AxisBounds } from "./axis.js";
import { byId, element, setText } from "./dom.js";
import { bytes, percent, plain, seconds, wholePercent } from "./format.js";
import type { RoundPoint, RunCard } from "../messages.js";

/** One line of a plot, or one part of its bars. */
interface Line {
  readonly name: string;
  readonly of: (point: RoundPoint) => number | undefined;
  /** A CSS colour, or the number of one of the page's. */
  readonly color: string | number;
  readonly dash?: number[];
}

interface Plot extends AxisBounds {
  readonly title: string;
  /** Said where there is nothing to draw. */
  readonly empty: string;
  readonly lines: readonly Line[];
  readonly format: (value: number) => string;
  /** At the axis, where that is shorter. */
  readonly ticks?: (value: number) => string;
  readonly bars?: boolean;
}

const HEIGHT = 190;

const DASHED = [6, 4];
const DOTTED = [2, 3];
/** Where a model was tried: the same line in every plot. */
const ON_TEST = { name: "test data", color: 1 };
const ON_HOLD_OUTS = { name: "clients' hold-outs", color: 2, dash: DASHED };

/** What a plot is of, beside the rounds' figures: the run's layers, and its metric. */
type Subject = Pick<RunCard, "layers" | "metric">;

/** Before the aggregator says what the run is judged by. */
export const UNKNOWN: Subject = {
  layers: [],
  metric: { title: "Accuracy", unit: "share", test: "testAccuracy", client: "clientAccuracy" },
};

function plotsOf({ layers, metric }: Subject): readonly Plot[] {
  return [
    {
      title: metric.title,
      empty: "No evaluation yet.",
      ...(metric.unit === "share"
        ? { format: percent, ticks: wholePercent, most: 1 }
        : { format: plain }),
      lines: [
        { ...ON_TEST, of: (p) => numberOf(p, metric.test) },
        { ...ON_HOLD_OUTS, of: (p) => numberOf(p, metric.client) },
        { name: "mean of the clients", of: (p) => p.clientMean, color: 3, dash: DOTTED },
        { name: "worst tenth of them", of: (p) => p.clientWorstTenth, color: 4 },
      ],
    },
    {
      title: "Loss",
      empty: "No round is committed yet.",
      format: plain,
      lines: [
        { ...ON_TEST, of: (p) => p.testLoss },
        { ...ON_HOLD_OUTS, of: (p) => p.clientLoss },
        {
          name: "training, before",
          of: (p) => p.lossBefore,
          color: 3,
          dash: DOTTED,
        },
        { name: "training, after", of: (p) => p.lossAfter, color: 4 },
      ],
    },
    {
      title: "Activation norm by layer",
      empty: "No client has measured activation norms yet.",
      format: plain,
      lines: layers.map((name, i) => ({
        name,
        of: (p) => p.activationNorms?.[i],
        color: rampColor(i, layers.length),
        ...(i % 2 === 1 && { dash: DASHED }),
      })),
    },
    {
      title: "Largest eigenvalue of the Hessian",
      empty: "Not computed so far (serve --flatness-every).",
      format: plain,
      lines: [{ ...ON_TEST, of: (p) => p.topEigenvalue }],
    },
    {
      title: "Duration by phase",
      empty: "No round is committed yet.",
      format: seconds,
      bars: true,
      fromZero: true,
      lines: [
        { name: "longest training", of: (p) => p.trainSeconds, color: 1 },
        {
          name: "transfer and waiting",
          of: ({ collectSeconds: all, trainSeconds: part }) =>
            all === undefined || part === undefined ? undefined : Math.max(0, all - part),
          color: 5,
        },
        { name: "moving the model", of: (p) => p.finishSeconds, color: 2 },
        { name: "writing to disk", of: (p) => p.commitSeconds, color: 3 },
      ],
    },
    {
      title: "Bytes in a round",
      empty: "No round is committed yet.",
      format: bytes,
      fromZero: true,
      lines: [
        { name: "updates counted", of: (p) => p.updateBytes, color: 1 },
        {
          name: "all received",
          of: (p) => p.receivedBytes,
          color: 3,
          dash: DOTTED,
        },
        { name: "all sent", of: (p) => p.sentBytes, color: 2, dash: DASHED },
      ],
    },
  ];
}

/** A figure of a round that is one number, by its name. */
export function numberOf(point: RoundPoint, name: string): number | undefined {
  const value = (point as unknown as Readonly<Record<string, unknown>>)[name];
  return typeof value === "number" ? value : undefined;
}

const dark = matchMedia("(prefers-color-scheme: dark)");

/** From the first layer to the last: dark blue to amber, told apart by lightness too. */
function rampColor(index: number, count: number): string {
  const t = count < 2 ? 0 : index / (count - 1);
  const [from, to] = dark.matches ? [0.62, 0.88] : [0.38, 0.72];
  return `oklch(${from + (to - from) * t} 0.13 ${260 - 190 * t})`;
}

const styleOf = (name: string): string =>
  getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const colorOf = (color: string | number): string =>
  typeof color === "string" ? color : styleOf(`--line-${color}`);

/**
 * The plots of the rounds: drawn again when there are more, the window changes, or the light does.
 */
interface Plots {
  /** @param subject of the run whose points these are, once it is known */
  show(points: readonly RoundPoint[], subject: Subject | undefined): void;
}

export function openPlots(): Plots {
  const place = byId("plots");
  let points: readonly RoundPoint[] = [];
  let subject = UNKNOWN;
  let figures: Figure[] = [];

  function begin(): void {
    for (const figure of figures) figure.destroy();
    figures = plotsOf(subject).map(openFigure);
    place.replaceChildren(...figures.map(({ root }) => root));
    for (const figure of figures) figure.draw(points);
  }

  new ResizeObserver(() => {
    for (const figure of figures) figure.resize();
  }).observe(place);
  dark.addEventListener("change", begin);
  begin();
  return {
    show(next, of = UNKNOWN) {
      points = next;
      const key = ({ layers, metric }: Subject) => JSON.stringify([layers, metric]);
      if (key(of) !== key(subject)) {
        subject = of;
        begin();
      } else for (const figure of figures) figure.draw(points);
    },
  };
}

interface Figure {
  readonly root: HTMLElement;
  draw(points: readonly RoundPoint[]): void;
  resize(): void;
  destroy(): void;
}

function openFigure(plot: Plot): Figure {
  const latest = element("span", "latest number");
  const canvas = element("div", "canvas");
  const empty = element("p", "empty", plot.empty);
  const root = element(
    "figure",
    "plot",
    element("figcaption", "", element("h3", "", plot.title), latest),
    canvas,
    empty,
  );
  let chart: uPlot | undefined;
  /** What the chart shows, before bars are stacked. */
  let values: (number | null)[][] = [];
  let shown: readonly Line[] = [];

  function create(data: uPlot.AlignedData): void {
    // Of stacked bars the highest is drawn first, and the others over it.
    const order = plot.bars ? shown.toReversed() : shown;
    const valuesOf = (line: number) => values[plot.bars ? shown.length - 1 - line : line];
    chart = new uPlot(chartOptions(plot, order, valuesOf, canvas.clientWidth), data, canvas);
    chart.root.querySelector("canvas")?.setAttribute("aria-hidden", "true");
  }

  return {
    root,
    draw(points) {
      const lines = plot.lines.filter(({ of }) => points.some((point) => of(point) !== undefined));
      if (lines.map(({ name }) => name).join() !== shown.map(({ name }) => name).join()) {
        chart?.destroy();
        chart = undefined;
        shown = lines;
      }
      empty.hidden = lines.length > 0;
      canvas.hidden = lines.length === 0;
      setText(latest, summaryOf(plot, lines, points));
      if (lines.length === 0) return;
      values = lines.map(({ of }) => points.map((point) => of(point) ?? null));
      const rounds = points.map(({ round }) => round);
      const data = [
        rounds,
        ...(plot.bars ? stacked(values).toReversed() : values),
      ] as uPlot.AlignedData;
      if (chart === undefined) create(data);
      else chart.setData(data);
    },
    resize() {
      if (chart !== undefined && canvas.clientWidth !== chart.width)
        chart.setSize({ width: canvas.clientWidth, height: HEIGHT });
    },
    destroy: () => chart?.destroy(),
  };
}

/** What uPlot is told of a plot; `valuesOf` gives what its legend says of a line, unstacked. */
function chartOptions(
  plot: Plot,
  lines: readonly Line[],
  valuesOf: (line: number) => readonly (number | null)[] | undefined,
  width: number,
): uPlot.Options {
  const [ink, grid] = [styleOf("--quiet"), styleOf("--rule")];
  const font = `11px ${styleOf("--font")}`;
  const axis: uPlot.Axis = {
    stroke: ink,
    font,
    grid: { stroke: grid, width: 1 },
    ticks: { stroke: grid, width: 1, size: 4 },
  };
  return {
    width,
    height: HEIGHT,
    padding: [8, 8, 0, 0],
    cursor: {
      sync: { key: "rounds" },
      points: { show: !plot.bars, size: 7 },
      drag: { x: false, y: false },
      y: false,
    },
    legend: {
      live: true,
      markers: {
        width: 3,
        dash: (_chart, i) => (i > 0 && lines[i - 1].dash ? "dotted" : "solid"),
      },
    },
    scales: {
      x: {
        time: false,
        range: (_chart, from, to) => [from - 0.5, to + 0.5],
      },
      y: {
        range: (_chart, from, to) => axisOf(plot, from, to),
      },
    },
    axes: [
      {
        ...axis,
        incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000],
        grid: { show: false },
        size: 26,
        space: 40,
      },
      {
        ...axis,
        size: 62,
        space: 34,
        incrs: STEPS,
        // uPlot's own numbers have as many digits as the steps need.
        ...(plot.format !== plain && {
          values: (_chart: uPlot, splits: number[]) => labelsOf(splits, plot.format, plot.ticks),
        }),
      },
    ],
    series: [
      {
        label: "Round",
        value: (chart, round: number | null) => String(round ?? chart.data[0].at(-1)),
      },
      ...lines.map(({ name, color, dash }, i): uPlot.Series => {
        const stroke = colorOf(color);
        return {
          label: name,
          stroke,
          width: plot.bars ? 0 : 2,
          dash,
          spanGaps: true,
          points: { size: 5, fill: stroke },
          ...(plot.bars && {
            fill: stroke,
            paths: uPlot.paths.bars!({ size: [0.7, 28] }),
            points: { show: false },
          }),
          value: (_chart, _value, _series, index) => {
            const list = valuesOf(i);
            const value = list?.[index ?? list.length - 1];
            return value == null ? "–" : plot.format(value);
          },
        };
      }),
    ],
  };
}

/** Each list with all those before it added. */
function stacked(values: readonly (number | null)[][]): (number | null)[][] {
  const sums: number[] = [];
  return values.map((list) => list.map((value, i) => (sums[i] = (sums[i] ?? 0) + (value ?? 0))));
}

/** The last figures in words: what somebody who does not see the plot is told. */
function summaryOf(plot: Plot, lines: readonly Line[], points: readonly RoundPoint[]): string {
  if (lines.length === 0 || lines.length > 4) return "";
  const at = points.findLast((point) => lines[0].of(point) !== undefined);
  if (at === undefined) return "";
  const total = plot.bars
    ? lines.reduce((sum, { of }) => sum + (of(at) ?? 0), 0)
    : lines[0].of(at)!;
  return `${plot.format(total)} in round ${at.round}`;
}
