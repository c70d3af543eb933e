import { sha256 } from "../connection/hash.js";
import { makeDataset, unexpected, type Dataset, type Part } from "../data/dataset.js";
import { namedLabels } from "../data/labels.js";
import { matched, type Expected } from "../data/matching.js";
import { DataError } from "../errors.js";
import type { Identity } from "../platform/platform.js";
import { checkPart, HOLD_OUT, holdOut } from "../training/batches.js";
import { elements } from "../tensors/shape.js";
import type { ClientData, ClientOptions, DataRequest, Inputs, Numbers } from "./options.js";

/** Training examples below which their mean says too much of each. */
export const LEAST_MEASURED = 16;

/**
 * The device's examples, split into those to train on and those held out, the same ones each time.
 */
export interface LocalExamples {
  /** How many there are to train on; null where it is not known before the first assignment. */
  readonly training: number | null;
  /**
   * Makes sure that examples which were given once and for all fit a model; absent where a function
   * gives them.
   * @throws as `partFor`
   */
  readonly check?: (model: Expected) => Part;
  /** @throws whatever the host's function throws, and as `partFor` */
  split(request: DataRequest): Promise<{ train: Part; test: Part }>;
}

/** The examples of a client, whose key decides which of them are held out. */
export const ownExamples = async (
  { data, holdOut = HOLD_OUT }: ClientOptions,
  { publicKey }: Identity,
): Promise<LocalExamples> => examplesOf(data, holdOut, await sha256(publicKey.slice()));

/** `seed` decides which examples are held out, whatever is added behind them. */
export function examplesOf(
  data: ClientOptions["data"],
  share: number,
  seed: string,
): LocalExamples {
  let last: { data: ClientData; key: string; part: Part } | undefined;
  const part = (given: ClientData, model: Expected): Part => {
    const { input, classes, columns, vocabulary, target } = model;
    // The same examples stay the same part, so that the worker need not be sent them again.
    const key = JSON.stringify([input, classes, columns, vocabulary, target]);
    if (last === undefined || last.data !== given || last.key !== key)
      last = { data: given, key, part: partFor(given, model) };
    return last.part;
  };
  const split = (rows: Part) => holdOut(rows, share, seed);
  let training: number | null = null;
  if (typeof data !== "function") {
    const count = countOf(data);
    if (count !== undefined) {
      const isPart = "rows" in data && "dataset" in data;
      const rows = isPart ? data : { dataset: NO_DATASET, rows: rowsUpTo(count) };
      training = split(rows).train.rows.length;
    }
  }
  return {
    get training() {
      return training;
    },
    check: typeof data === "function" ? undefined : (model) => part(data, model),
    async split(request) {
      const parts = split(part(typeof data === "function" ? await data(request) : data, request));
      training = parts.train.rows.length;
      return parts;
    },
  };
}

const rowsUpTo = (count: number): Uint32Array => Uint32Array.from({ length: count }, (_, i) => i);

/** How many examples there are, where the data are of a form that says so. */
function countOf(data: unknown): number | undefined {
  if (typeof data !== "object" || data === null) return undefined;
  const list = "rows" in data ? data.rows : "y" in data ? data.y : undefined;
  const length =
    typeof list === "object" && list !== null && "length" in list ? list.length : undefined;
  return typeof length === "number" && length >= 0 ? length : undefined;
}

const NO_DATASET: Dataset = {
  shape: [],
  inputs: new Float32Array(),
  labels: new Int32Array(),
  classes: [],
};

/**
 * The examples as this model takes them: class names and columns are matched by name.
 * @throws DataError `data`, `shape`, `count`, `label`, `columns`, `not-finite`, `rows`, `empty`.
 */
export function partFor(data: ClientData, model: Expected): Part {
  const isPart = typeof data === "object" && data !== null && "rows" in data;
  const whole = isPart || model.target?.kind !== "input" ? countOf(data) !== undefined : data;
  if (!whole || !((isPart ? "dataset" : "x") in data))
    throw new DataError(
      "data",
      `"data" expected { x, y } with a label for each example, or a part of a data set, got ${form(data)}`,
    );
  const part = "rows" in data ? partOf(data, model) : partWith(datasetOf(data, model));
  const { input, classes, target } = model;
  checkPart(part, { input, classes: classes.length || Infinity, target });
  return part;
}

const partWith = (dataset: Dataset): Part => ({ dataset, rows: rowsUpTo(dataset.labels.length) });

function partOf(part: Part, model: Expected): Part {
  const dataset = matched("data", part.dataset, model);
  return dataset === part.dataset ? part : { dataset, rows: part.rows };
}

function datasetOf(
  { x, y = [] }: Exclude<ClientData, Part>,
  { input: shape, classes, target }: Expected,
): Dataset {
  const inputs = flat(x);
  if (target === undefined)
    // Refuses what is not a list of classes.
    return makeDataset("data", { shape, inputs, ...labelled(y as ArrayLike<string>, classes) });
  const { kind, size } = target;
  const targets = kind === "input" ? undefined : { kind, size, values: flat(y as Inputs, "y") };
  return makeDataset("data", { shape, inputs, targets, classes: [] });
}

function labelled(given: ArrayLike<number | bigint | string>, classes: readonly string[]) {
  const labels = Array.from(given);
  const where = (i: number) => `label of example ${i}`;
  const names = labels.filter((label) => typeof label === "string");
  if (names.length === 0) return { labels: labels.map(Number), classes };
  const odd = labels.findIndex((label) => typeof label !== "string");
  if (odd >= 0)
    throw unexpected("label", "data", where(odd), "a name, as others are", String(labels[odd]));
  return namedLabels("data", names, where, classes);
}

/** What was given in place of data, in words. */
function form(value: unknown): string {
  if (typeof value !== "object" || value === null) return String(value).slice(0, 40);
  if (Array.isArray(value)) return "a list";
  const fields = Object.keys(value).slice(0, 5).join(", ");
  return fields === "" ? "an empty object" : `an object with ${fields}`;
}

const isList = (level: unknown): level is readonly unknown[] | Numbers =>
  Array.isArray(level) || (ArrayBuffer.isView(level) && "length" in level);

/**
 * Inputs end to end: bytes as bytes, all else as float32.
 * @throws DataError `shape` where nested lists are not all of one length, or hold no numbers; `type`
 * for a Buffer, whose bytes could be those of other numbers.
 */
export function flat(inputs: Inputs, name = "x"): Float32Array | Uint8Array {
  if (inputs instanceof Float32Array) return inputs;
  if (inputs instanceof Uint8Array || inputs instanceof Uint8ClampedArray) {
    refuseBuffer(inputs, name);
    return new Uint8Array(inputs.buffer, inputs.byteOffset, inputs.length);
  }
  if (!isList(inputs))
    throw new DataError("shape", `"${name}" expected numbers in a list, got ${form(inputs)}`);
  const shape: number[] = [];
  for (let level: unknown = inputs; isList(level); level = level[0]) shape.push(level.length);
  const numbers = new Float32Array(elements(shape));
  let filled = 0;
  const fill = (level: unknown, depth: number): void => {
    if (depth === shape.length) {
      if (typeof level !== "number" && typeof level !== "bigint")
        throw new DataError("shape", `"${name}" expected numbers, got ${form(level)}`);
      numbers[filled++] = Number(level);
      return;
    }
    if (!isList(level) || level.length !== shape[depth])
      throw new DataError(
        "shape",
        `"${name}" expected lists of ${shape[depth]} at depth ${depth}, got another length`,
      );
    refuseBuffer(level, name);
    for (const item of level) fill(item, depth + 1);
  };
  fill(inputs, 0);
  return numbers;
}

function refuseBuffer(list: object, name: string): void {
  if (list.constructor.name === "Buffer")
    throw new DataError(
      "type",
      `"${name}" expected an array that says what its numbers are, got a Buffer (new Uint8Array(x) for bytes, new Float32Array(x.buffer, x.byteOffset, x.length / 4) for float32)`,
    );
}
