import { scaleLinear } from "d3-scale";

/**
 * One line of a chart of characters: what stands for its points, and the points from left to right.
 */
interface Curve {
  readonly mark: string;
  readonly name: string;
  readonly points: readonly number[];
}

/** Stands where curves lie on each other. */
const BOTH = "*";

const LINES = 12;
/** For the numbers at the left. */
const LABELS = 7;
/** Columns between the marks that say where a round is, at least. */
const TICK = 6;

/**
 * Curves over rounds 1, 2 ... as text of that many columns, with ticks on both axes. Each curve has
 * a mark of its own, so that it can be read without colours.
 */
export function terminalChart(curves: readonly Curve[], columns: number): string {
  const values = curves.flatMap(({ points }) => points);
  const rounds = Math.max(1, ...curves.map(({ points }) => points.length));
  const width = Math.max(10, columns - LABELS - 2);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const y = scaleLinear(low < high ? [low, high] : [low - 1, low + 1], [LINES - 1, 0]).nice();
  const x = scaleLinear([1, Math.max(2, rounds)], [0, width - 1]);
  const cells = Array.from({ length: LINES }, () => Array<string>(width).fill(" "));
  const put = (mark: string, column: number, value: number) => {
    const line = cells[Math.round(y(value))];
    line[column] = line[column] === " " || line[column] === mark ? mark : BOTH;
  };
  for (const { mark, points } of curves)
    for (let column = 0; column <= Math.round(x(points.length)); column++) {
      // Between two rounds the curve is straight.
      const at = Math.min(x.invert(column), points.length) - 1;
      const left = points[Math.floor(at)];
      const right = points[Math.min(Math.floor(at) + 1, points.length - 1)];
      put(mark, column, left + (at % 1) * (right - left));
    }

  const tickLines = new Map(
    y.ticks(4).map((value) => [Math.round(y(value)), y.tickFormat(4)(value)]),
  );
  const body = cells.map((line, i) => {
    const label = tickLines.get(i);
    return `${(label ?? "").padStart(LABELS)} ${label === undefined ? "│" : "┤"}${line.join("")}`;
  });
  let axis = "─".repeat(width);
  let numbers = " ".repeat(width);
  for (const round of x.ticks(Math.floor(width / TICK)).filter(Number.isInteger)) {
    if (round > rounds) continue;
    const column = Math.round(x(round));
    const name = String(round);
    const begin = Math.min(column, width - name.length);
    axis = axis.slice(0, column) + "┬" + axis.slice(column + 1);
    numbers = numbers.slice(0, begin) + name + numbers.slice(begin + name.length);
  }
  const indent = " ".repeat(LABELS + 1);
  const legend = [...curves.map(({ mark, name }) => `${mark} ${name}`)];
  if (curves.length > 1) legend.push(`${BOTH} both`);
  return [
    ...body,
    `${indent}└${axis}`,
    `${indent} ${numbers}`,
    "",
    ...legend.map((line) => `${indent} ${line}`),
  ]
    .map((line) => line.trimEnd())
    .join("\n");
}
