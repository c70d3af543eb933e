/** Number of elements of a tensor of this shape; 1 for a scalar's []. */
export const elements = (shape: readonly number[]): number =>
  shape.reduce((product, dimension) => product * dimension, 1);
