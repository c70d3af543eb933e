import { makeDataset, type Part } from "../data/dataset.js";
import { DataError } from "../errors.js";

/** Numbers in nested lists, all of one length at each depth: [[...], [...]]. */
export type Nested = readonly number[] | readonly Nested[];
export type Inputs = Float32Array | Uint8Array | Nested;

/**
 * A device's own examples: `x` holds the inputs end to end (or as nested lists), `y` one class per example, numbered from 0
 * as the model's classes are. Or a part of a data set, as the readers of fedflat/data make them.
 */
export type ClientData =
  { readonly x: Inputs; readonly y: ArrayLike<number> } | Part;

/** How many examples there are. */
export const countOf = (data: ClientData): number =>
  "rows" in data ? data.rows.length : data.y.length;

/**
 * The examples as a network with this input and these classes takes them.
 * @throws DataError `shape`, `count`, `label`, `not-finite`.
 */
export function partFor(
  data: ClientData,
  input: readonly number[],
  classes: readonly string[],
): Part {
  if ("rows" in data) {
    const { shape } = data.dataset;
    if (shape.join() !== input.join())
      throw new DataError(
        "shape",
        `"data" expected examples of shape [${input.join(", ")}], got [${shape.join(", ")}]`,
      );
    return data;
  }
  const inputs = flat(data.x);
  const dataset = makeDataset("data", {
    shape: input,
    inputs,
    labels: data.y,
    classes,
  });
  return { dataset, rows: Uint32Array.from(data.y, (_, row) => row) };
}

/** Inputs end to end. @throws DataError `shape` where nested lists are not all of one length, or hold no numbers. */
export function flat(inputs: Inputs): Float32Array | Uint8Array {
  if (inputs instanceof Float32Array || inputs instanceof Uint8Array)
    return inputs;
  const shape: number[] = [];
  for (let level: unknown = inputs; Array.isArray(level); level = level[0])
    shape.push(level.length);
  const numbers = new Float32Array(shape.reduce((a, b) => a * b, 1));
  let filled = 0;
  const fill = (level: unknown, depth: number): void => {
    if (depth === shape.length) {
      if (typeof level !== "number")
        throw new DataError(
          "shape",
          `"x" expected numbers, got ${typeof level}`,
        );
      numbers[filled++] = level;
      return;
    }
    if (!Array.isArray(level) || level.length !== shape[depth])
      throw new DataError(
        "shape",
        `"x" expected lists of ${shape[depth]} at depth ${depth}, got another length`,
      );
    for (const item of level) fill(item, depth + 1);
  };
  fill(inputs, 0);
  return numbers;
}
