import type { Network } from "../models/network.js";

/**
 * How many layers stand before the border to those that learn: in them nothing learns, is drawn or
 * is measured, and of them the layers behind read the last one alone. 0 where there are none, or
 * where they multiply nothing, so that what they give is not worth keeping.
 */
export function borderOf({ layers, loss }: Network): number {
  const border = layers.findIndex(({ learns, tap, type }) => learns || tap || type === "dropout");
  const isCut = layers.every(
    ({ sources }, i) => i < border || sources.every((source) => source >= border - 1),
  );
  const multiplies = layers.some(
    ({ places }, i) => i < border && places.some(({ name }) => /kernel/i.test(name)),
  );
  return isCut && multiplies && loss.target.kind !== "input" ? border : 0;
}
