import { ConfigError, ModelError } from "../../runtime/errors.js";
import type { Model, ModelCard } from "../../runtime/models/model.js";
import type { ModelDescription } from "../../runtime/models/description.js";
import { networkOf } from "../../runtime/models/network.js";
import { elements } from "../../runtime/tensors/shape.js";

/** What every reader of a format gives. */
export interface Imported {
  readonly description: ModelDescription;
  /** Numbers of each parameter, under the names of docs/models.md: `0.kernel`, `0.bias` ... */
  readonly tensors: ReadonlyMap<string, Float32Array>;
  /** What a person should know about the result, a sentence each. */
  readonly notes: readonly string[];
  /** What else is known of the model, such as what was done to its inputs. */
  readonly card?: Omit<ModelCard, "description">;
}

/** How a reader is asked to read. */
export interface ImportOptions {
  /** Puts a new dense layer of so many classes in place of the last one. */
  readonly head?: number;
  /** The loss, where the file does not say it or says another. */
  readonly loss?: string;
  /** Keeps batch normalisations as layers, instead of folding them into their neighbours. */
  readonly keepBatchNorm?: boolean;
}

/** What a reader of a format is given beside the file. */
export interface ReadOptions extends ImportOptions {
  /** A description as JSON, for formats that hold numbers only. */
  readonly network?: unknown;
  /** Another file, named relative to this one, such as a shard of weights. */
  readonly beside: (name: string) => Promise<Uint8Array>;
}

/** Numbers with a shape, as a file has them. */
export interface FileTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** The largest file that is read: as many bytes as the largest model has. */
export const MAX_FILE = 2 ** 30;
/** The most parameters and layers that are read. */
export const MAX_PARAMETERS = 2 ** 28;
export const MAX_LAYERS = 1000;

/**
 * To how many bytes so many may unpack. Weights hardly shrink, so that much more than they take
 * packed is a bomb.
 */
export const unpackedAtMost = (packed: number): number =>
  Math.min(MAX_FILE, Math.max(2 ** 25, 16 * packed));

/**
 * Says in one sentence what of a file cannot be read: where it stands, what would do, what is
 * there.
 */
export function refuse(node: string, field: string, expected: string, got: unknown): never {
  const where = field === "" ? node : `${node}.${field}`;
  throw new ModelError("import", `"${where}" expected ${expected}, got ${shown(got)}`);
}

/** The same of what was asked for, by the flag that asked. @throws ConfigError `usage` */
export function refuseFlag(flag: string, expected: string, got: unknown): never {
  throw new ConfigError("usage", `"--${flag}" expected ${expected}, got ${shown(got)}`);
}

function shown(value: unknown): string {
  let text: string | undefined;
  try {
    text =
      typeof value === "string"
        ? value
        : JSON.stringify(value, (_, v) => (typeof v === "bigint" ? Number(v) : v));
  } catch {
    // Its nesting is deeper than the stack.
    text = "something nested too deeply";
  }
  text ??= "nothing";
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/** The model of what was read. @throws ModelError where a tensor is missing or has another size. */
export function modelOf({ description, tensors, card }: Imported): Model {
  const { layout } = networkOf(description);
  const weights = new Float32Array(layout.size);
  for (const { name, offset, size } of layout.parameters) {
    const data = tensors.get(name);
    if (data?.length !== size) refuse(name, "", `${size} numbers`, String(data?.length ?? 0));
    const wrong = data.findIndex((value) => !Number.isFinite(value));
    if (wrong >= 0) refuse(name, "", "finite numbers", `${data[wrong]} at place ${wrong}`);
    weights.set(data, offset);
  }
  const classes = card?.classes ?? namesFor(description);
  return { ...card, description, layout, weights, classes };
}

/** Numbers as names of the classes or labels, where the output is such. */
export function namesFor(description: ModelDescription): string[] {
  const { classes, loss } = networkOf(description);
  const named = loss.task === "classes" || loss.task === "labels" || loss.task === "sequence";
  return named ? Array.from({ length: classes }, (_, i) => String(i)) : [];
}

/** The tensor with its axes in another order: `axes[i]` of the old becomes axis i. */
export function permute({ shape, data }: FileTensor, axes: readonly number[]): FileTensor {
  const target = axes.map((axis) => shape[axis]);
  const strides = shape.map((_, axis) => elements(shape.slice(axis + 1)));
  const steps = axes.map((axis) => strides[axis]);
  const to = new Float32Array(data.length);
  const place = target.map(() => 0);
  let from = 0;
  for (let i = 0; i < to.length; i++) {
    to[i] = data[from];
    for (let axis = target.length - 1; axis >= 0; axis--) {
      from += steps[axis];
      if (++place[axis] < target[axis]) break;
      from -= steps[axis] * target[axis];
      place[axis] = 0;
    }
  }
  return { shape: target, data: to };
}

/** Rows (c, place) of a matrix as rows (place, c). */
export function rowsOf(data: Float32Array, image: readonly number[], units: number): Float32Array {
  const channels = image[image.length - 1];
  const places = elements(image) / channels;
  if (data.length !== channels * places * units) return data;
  return permute({ shape: [channels, places, units], data }, [1, 0, 2]).data;
}

/** Blocks of the last axis in another order: gates of recurrent layers. */
export function blocks({ shape, data }: FileTensor, order: readonly number[]): FileTensor {
  const width = shape[shape.length - 1];
  const block = width / order.length;
  const to = new Float32Array(data.length);
  for (let row = 0; row < data.length; row += width)
    order.forEach((from, i) =>
      to.set(data.subarray(row + from * block, row + (from + 1) * block), row + i * block),
    );
  return { shape, data: to };
}
