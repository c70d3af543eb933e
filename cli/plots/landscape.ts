import { contours } from "d3-contour";
import { scaleLinear } from "d3-scale";
import { interpolateViridis } from "d3-scale-chromatic";
import type { Slice } from "../../runtime/flatness/slice.js";
import { axes, element, path, picture, text } from "./svg.js";

const SIDE = 460;
const LEFT = 84;
const TOP = 54;
const LEVELS = 14;

/**
 * A slice of the loss landscape as SVG: filled contours with their lines, a bar that says which
 * colour is which loss, and a cross at the weights themselves. Levels are evenly spaced in the
 * logarithm of the loss, for it grows by orders of magnitude.
 * @param scale losses at the ends of the colour scale, so that pictures can be compared; those of
 * the slice where not given
 */
export function landscape(
  title: string,
  slice: Slice,
  scale?: readonly [lowest: number, highest: number],
): string {
  const { coordinates, losses } = slice;
  const size = coordinates.length;
  const floor = 1e-8;
  const values = losses.flat().map((loss) => Math.log(Math.max(loss, floor)));
  const finite = values.filter(Number.isFinite);
  const [lowest, highest] = scale?.map(Math.log) ?? [Math.min(...finite), Math.max(...finite)];
  const step = (highest - lowest || 1) / LEVELS;
  const thresholds = Array.from({ length: LEVELS }, (_, i) => lowest + step * i);
  const colourOf = (level: number) =>
    interpolateViridis((level - lowest) / (highest - lowest || 1));
  const [least, most] = [Math.min(...finite), Math.max(...finite)];

  const area = { left: LEFT, top: TOP, right: LEFT + SIDE, bottom: TOP + SIDE };
  const range: [number, number] = [coordinates[0], coordinates[size - 1]];
  const x = scaleLinear(range, [area.left, area.right]);
  const y = scaleLinear(range, [area.bottom, area.top]);
  // d3-contour puts grid point i at i + 1/2.
  const pixel = ([a, b]: readonly number[]): [number, number] => [
    area.left + (SIDE * (a - 0.5)) / (size - 1),
    area.bottom - (SIDE * (b - 0.5)) / (size - 1),
  ];
  const rings = contours()
    .size([size, size])
    .thresholds(thresholds)(values.map((v) => (Number.isFinite(v) ? v : highest)))
    .map(({ value, coordinates }) =>
      element("path", {
        d: coordinates
          .flat()
          .map((ring) => path(ring.map(pixel), true))
          .join(""),
        fill: colourOf(value),
        stroke: "#ffffff",
        "stroke-width": 0.7,
        "stroke-opacity": 0.6,
      }),
    );

  const barLeft = area.right + 34;
  const bar = thresholds.map((level, i) => {
    const height = SIDE / LEVELS;
    const at = area.bottom - height * (i + 1);
    return (
      element("rect", {
        x: barLeft,
        y: at,
        width: 22,
        height: height + 0.5,
        fill: colourOf(level),
      }) + text({ x: barLeft + 30, y: at + height + 4 }, Math.exp(level).toPrecision(3))
    );
  });
  const [cx, cy] = [x(0), y(0)];
  const arm = 7;
  const cross = path([
    [cx - arm, cy],
    [cx + arm, cy],
  ]).concat(
    path([
      [cx, cy - arm],
      [cx, cy + arm],
    ]),
  );
  return picture(
    barLeft + 140,
    area.bottom + 62,
    title,
    `Cross-entropy from ${Math.exp(least).toPrecision(3)} to ${Math.exp(most).toPrecision(3)} around the weights`,
    element(
      "clipPath",
      { id: "plane" },
      element("rect", {
        x: area.left,
        y: area.top,
        width: SIDE,
        height: SIDE,
      }),
    ),
    axes(
      area,
      { label: "along the first direction", scale: x, ticks: 6 },
      { label: "along the second direction", scale: y, ticks: 6 },
    ),
    element("g", { "clip-path": "url(#plane)" }, ...rings),
    element("path", { d: cross, stroke: "#ffffff", "stroke-width": 5 }),
    element("path", { d: cross, stroke: "#d55e00", "stroke-width": 2.5 }),
    ...bar,
    text({ x: barLeft, y: area.top - 12 }, "loss"),
    text({ x: barLeft, y: area.bottom + 26, "font-size": 12, fill: "#555" }, "cross: the weights"),
  );
}
