import type { Augmentation, Dataset, Part, Windows } from "../data/dataset.js";
import type { Expected } from "../data/matching.js";
import { DataError } from "../errors.js";
import { random, type Random } from "../tensors/random.js";
import { elements, shapeText } from "../tensors/shape.js";

/** Share of its examples that a client keeps for evaluation where it is not told another. */
export const HOLD_OUT = 0.1;

/**
 * Sets aside about that share of a part for evaluation, never to be trained on. Each row draws its
 * own lot from the seed, so that a row once set aside stays so when the data grow. At least one row
 * is on each side where there are two. Of windows, which overlap, it is the last ones by time.
 */
export function holdOut(
  { dataset, rows }: Part,
  share: number,
  seed: string,
): { readonly train: Part; readonly test: Part } {
  if (share <= 0 || rows.length < 2)
    return {
      train: { dataset, rows },
      test: { dataset, rows: new Uint32Array() },
    };
  const { starts, windows } = dataset;
  if (starts !== undefined && windows !== undefined)
    return holdOutLast({ dataset, rows }, starts, windows, share);
  const lots = Float64Array.from(rows, (row) => random(seed, "hold-out", row).next());
  const sorted = lots.slice().sort();
  const limit = Math.min(Math.max(share, sorted[0] + Number.EPSILON), sorted[sorted.length - 1]);
  return {
    train: { dataset, rows: rows.filter((_, i) => lots[i] >= limit) },
    test: { dataset, rows: rows.filter((_, i) => lots[i] < limit) },
  };
}

/**
 * The same for windows: the last of each series are set aside, and no window to train on reaches
 * into what they begin with.
 */
function holdOutLast(
  { dataset, rows }: Part,
  starts: Uint32Array,
  { span, series }: Windows,
  share: number,
): { readonly train: Part; readonly test: Part } {
  const bounds = new Map<number, { first: number; last: number }>();
  for (const row of rows) {
    const { first, last } = bounds.get(series[row]) ?? { first: Infinity, last: 0 };
    bounds.set(series[row], {
      first: Math.min(first, starts[row]),
      last: Math.max(last, starts[row]),
    });
  }
  const cut = (row: number): number => {
    const { first, last } = bounds.get(series[row])!;
    return Math.min(last, last + span - share * (last + span - first));
  };
  // A series of one window is trained on.
  const alone = (row: number) => bounds.get(series[row])!.first === bounds.get(series[row])!.last;
  return {
    train: { dataset, rows: rows.filter((row) => alone(row) || starts[row] + span <= cut(row)) },
    test: { dataset, rows: rows.filter((row) => !alone(row) && starts[row] >= cut(row)) },
  };
}

/** The rows cut into batches of `size`; the last one may be shorter. */
export function* batchesOf(rows: Uint32Array, size: number): Generator<Uint32Array> {
  for (let from = 0; from < rows.length; from += size) yield rows.subarray(from, from + size);
}

/** What a network asks of data; `classes` is the length of its output's last axis. */
type Needs = Pick<Expected, "input" | "target"> & { readonly classes: number };

/**
 * Makes sure that the part fits the network: shape of the examples, rows that exist, and targets of
 * its kind.
 * @throws DataError `shape`, `rows`, `label`, `target`, or `empty`.
 */
export function checkPart({ dataset, rows }: Part, network: Needs): void {
  const { shape, inputs, starts, labels } = dataset;
  if (shape.join() !== network.input.join())
    throw new DataError(
      "shape",
      `"data" expected examples of shape ${shapeText(network.input)}, got ${shapeText(shape)}`,
    );
  if (starts === undefined && inputs.length !== labels.length * elements(shape))
    throw new DataError(
      "shape",
      `"data" expected ${labels.length * elements(shape)} input numbers for ${labels.length} labels, got ${inputs.length}`,
    );
  if (rows.length === 0)
    throw new DataError("empty", `"data" expected at least one example, got 0`);
  const oneClass = checkTargets(dataset, network);
  for (const row of rows) {
    if (row >= labels.length)
      throw new DataError("rows", `"row" expected below ${labels.length}, got ${row}`);
    if (!oneClass) continue;
    if (labels[row] < 0 || labels[row] >= network.classes)
      throw new DataError(
        "label",
        `"label" expected 0 to ${network.classes - 1}, got ${labels[row]} (example ${row})`,
      );
  }
}

/** Whether the network compares with one class for each example. @throws DataError `target`, `label` */
function checkTargets({ targets }: Dataset, { target, classes }: Needs): boolean {
  if (target === undefined || (target.kind === "classes" && target.size === 1)) return true;
  if (target.kind === "input") return false;
  if (targets?.kind !== target.kind || targets.size !== target.size)
    throw new DataError(
      "target",
      `"data" expected ${target.size} ${target.kind} to compare an example with, got ${targets === undefined ? "none" : `${targets.size} ${targets.kind}`}`,
    );
  const [least, most] =
    target.kind === "classes" ? [-1, classes - 1] : target.isShare ? [0, 1] : [-Infinity, Infinity];
  const wrong = targets.values.findIndex((value) => !(value >= least && value <= most));
  if (wrong >= 0)
    throw new DataError(
      "label",
      `"label" expected ${Math.max(0, least)} to ${most}, got ${targets.values[wrong]} (position ${wrong})`,
    );
  return false;
}

/**
 * Changes normalised images in place, each by itself: mirrored with probability 0.5; then, with
 * probability 0.5, cropped at random from its own zero-padded copy (algorithms.md, the paper's
 * set-up).
 */
export function augment(
  target: Float32Array,
  count: number,
  [height, width, channels]: readonly number[],
  { flip, crop }: Augmentation,
  chance: Random,
): void {
  const size = height * width * channels;
  const original = new Float32Array(size);
  for (let i = 0; i < count; i++) {
    const mirrored = flip && chance.next() < 0.5;
    const cropped = crop > 0 && chance.next() < 0.5;
    const down = cropped ? chance.integer(2 * crop + 1) - crop : 0;
    const right = cropped ? chance.integer(2 * crop + 1) - crop : 0;
    if (!mirrored && down === 0 && right === 0) continue;
    const image = target.subarray(i * size, (i + 1) * size);
    original.set(image);
    let to = 0;
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) {
        const row = y + down;
        const column = mirrored ? width - 1 - (x + right) : x + right;
        const inside = row >= 0 && row < height && column >= 0 && column < width;
        let from = (row * width + column) * channels;
        for (let channel = 0; channel < channels; channel++)
          image[to++] = inside ? original[from++] : 0;
      }
  }
}
