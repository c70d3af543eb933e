/** Number of elements of a tensor of this shape; 1 for a scalar's []. */
export const elements = (shape: readonly number[]): number =>
  shape.reduce((product, dimension) => product * dimension, 1);

/** A shape, or the place of an element, in words: `[28, 28, 1]`. */
export const shapeText = (shape: readonly number[]): string => `[${shape.join(", ")}]`;

/** The indices, outermost first, of a tensor's element. */
export function placeOf(i: number, shape: readonly number[]): number[] {
  const place: number[] = [];
  let rest = i;
  for (const size of [...shape].reverse()) {
    place.unshift(rest % size);
    rest = Math.floor(rest / size);
  }
  return place;
}
