/** The markup of a picture: elements as text, and the parts that every picture of ours has. */

type Attributes = Readonly<Record<string, string | number>>;

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
};

/** A text as markup that shows it. */
export const escaped = (text: string): string => text.replace(/[&<>"]/g, (c) => ENTITIES[c]);

/** Coordinates to a hundredth of a pixel: the same picture on every machine, and small files. */
const shown = (value: string | number) =>
  typeof value === "number" ? String(Math.round(value * 100) / 100) : escaped(value);

/** `children` is markup; text goes through `text`. */
export function element(
  name: string,
  attributes: Attributes,
  ...children: readonly string[]
): string {
  const list = Object.entries(attributes)
    .map(([key, value]) => ` ${key}="${shown(value)}"`)
    .join("");
  return children.length === 0
    ? `<${name}${list}/>`
    : `<${name}${list}>${children.join("")}</${name}>`;
}

export const text = (attributes: Attributes, content: string): string =>
  element("text", { fill: "#222", ...attributes }, escaped(content));

/** A path through points; `closed` joins the last with the first. */
export const path = (points: readonly (readonly [number, number])[], closed = false): string =>
  points.map(([x, y], i) => `${i === 0 ? "M" : "L"}${shown(x)},${shown(y)}`).join("") +
  (closed ? "Z" : "");

/** What a scale of d3 is to an axis. */
interface AxisScale {
  (value: number): number | undefined;
  ticks(count: number): number[];
  tickFormat(count: number): (value: number) => string;
}

export interface Axis {
  /** What is measured, with its unit in brackets. */
  readonly label: string;
  readonly scale: AxisScale;
  /** How many ticks, about. */
  readonly ticks: number;
  /** What is counted, not measured: no ticks between whole numbers. */
  readonly whole?: boolean;
  /** What stands at a tick, where the scale's own number will not do. */
  readonly name?: (value: number) => string;
}

/** Where the data are drawn, in pixels. */
interface Area {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

/** Grid, ticks, numbers and labels of both axes. */
export function axes({ left, top, right, bottom }: Area, x: Axis, y: Axis) {
  const grid = { stroke: "#e2e2e2", "stroke-width": 1 };
  const marks = ({ scale, ticks, whole = false, name }: Axis) => {
    const format =
      name ?? (whole ? (value: number) => value.toLocaleString("en") : scale.tickFormat(ticks));
    return scale
      .ticks(ticks)
      .filter((value) => !whole || Number.isInteger(value))
      .map((value) => ({ at: scale(value) ?? 0, name: format(value) }));
  };
  const middle = (top + bottom) / 2;
  return [
    ...marks(x).flatMap(({ at, name }) => [
      element("line", { x1: at, x2: at, y1: top, y2: bottom, ...grid }),
      text({ x: at, y: bottom + 19, "text-anchor": "middle" }, name),
    ]),
    ...marks(y).flatMap(({ at, name }) => [
      element("line", { x1: left, x2: right, y1: at, y2: at, ...grid }),
      text({ x: left - 9, y: at + 4.5, "text-anchor": "end" }, name),
    ]),
    element("path", {
      d: path([
        [left, top],
        [left, bottom],
        [right, bottom],
      ]),
      fill: "none",
      stroke: "#555",
    }),
    text({ x: (left + right) / 2, y: bottom + 42, "text-anchor": "middle" }, x.label),
    text(
      {
        x: left - 48,
        y: middle,
        "text-anchor": "middle",
        transform: `rotate(-90 ${left - 48} ${middle})`,
      },
      y.label,
    ),
  ].join("");
}

/** The whole picture, on white. `description` is for those who cannot see it. */
export const picture = (
  width: number,
  height: number,
  title: string,
  description: string,
  ...children: readonly string[]
): string =>
  element(
    "svg",
    {
      xmlns: "http://www.w3.org/2000/svg",
      width,
      height,
      viewBox: `0 0 ${width} ${height}`,
      role: "img",
      "font-family": "DejaVu Sans, Helvetica, Arial, sans-serif",
      "font-size": 13,
    },
    element("title", {}, escaped(title)),
    element("desc", {}, escaped(description)),
    element("rect", { width, height, fill: "#ffffff" }),
    text({ x: 20, y: 30, "font-size": 17, "font-weight": 600 }, title),
    ...children,
  ) + "\n";

/** Pixels that a text of 13 pixels takes, about. */
export const widthOf = (content: string): number => content.length * 7.9;
