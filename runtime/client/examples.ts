import { makeDataset, type Dataset, type Part } from "../data/dataset.js";
import { DataError } from "../errors.js";
import { holdOut } from "../training/batches.js";
import type { ClientData, ClientOptions, DataRequest, Inputs } from "./options.js";

/**
 * The device's examples, split into those to train on and those held out, the same ones each time.
 */
export interface Examples {
  /** How many there are to train on; null where it is not known before the first assignment. */
  readonly training: number | null;
  /** @throws whatever the host's function throws, and as `partFor` */
  split(request: DataRequest): Promise<{ train: Part; test: Part }>;
}

/** `seed` decides which examples are held out, whatever is added behind them. */
export function examplesOf(data: ClientOptions["data"], share: number, seed: string): Examples {
  let last: { data: ClientData; key: string; part: Part } | undefined;
  let training =
    typeof data === "function"
      ? null
      : holdOut({ dataset: NO_DATASET, rows: rowsOf(data) }, share, seed).train.rows.length;
  return {
    get training() {
      return training;
    },
    async split(request) {
      const { input, classes } = request;
      const given = typeof data === "function" ? await data(request) : data;
      // The same examples stay the same part, so that the worker need not be sent them again.
      const key = [input, classes.length].join();
      if (last?.data !== given || last.key !== key)
        last = { data: given, key, part: partFor(given, input, classes) };
      const split = holdOut(last.part, share, seed);
      training = split.train.rows.length;
      return split;
    },
  };
}

const rowsOf = (data: ClientData): Uint32Array =>
  "rows" in data ? data.rows : Uint32Array.from({ length: data.y.length }, (_, row) => row);

const NO_DATASET: Dataset = {
  shape: [],
  inputs: new Float32Array(),
  labels: new Int32Array(),
  classes: [],
};

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
  return { dataset, rows: rowsOf(data) };
}

/**
 * Inputs end to end. @throws DataError `shape` where nested lists are not all of one length, or
 * hold no numbers.
 */
export function flat(inputs: Inputs): Float32Array | Uint8Array {
  if (inputs instanceof Float32Array || inputs instanceof Uint8Array) return inputs;
  const shape: number[] = [];
  for (let level: unknown = inputs; Array.isArray(level); level = level[0])
    shape.push(level.length);
  const numbers = new Float32Array(shape.reduce((a, b) => a * b, 1));
  let filled = 0;
  const fill = (level: unknown, depth: number): void => {
    if (depth === shape.length) {
      if (typeof level !== "number")
        throw new DataError("shape", `"x" expected numbers, got ${typeof level}`);
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
