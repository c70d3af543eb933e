import type { ServerHalf } from "../../runtime/algorithms/algorithm.js";
import { ModelError } from "../../runtime/errors.js";
import { MODEL, readBlob } from "../../runtime/tensors/blob.js";
import { runningValuesForm } from "../../runtime/training/running-values.js";
import type { Layout, Vector } from "../../runtime/tensors/layout.js";
import { parameterView } from "../../runtime/tensors/layout.js";
import { addToFold, emptyFold, type RoundFold } from "./exact-sum.js";
import type { GatheredUpdate, RoundLimits } from "./gathering.js";
import type { Refusal } from "./validation.js";
import { contributionOf, domainOf, foldFor } from "./weighted-mean.js";

/** Weighted as a mean of models is. */
const WEIGHTED: Pick<ServerHalf, "folds"> = { folds: { values: "samples" } };

const isVariance = (name: string): boolean => name.endsWith(".variance");

/**
 * Why a client's running values are refused, if they are. They are of activations, not of changes to
 * weights: a mean is at most `maxAbs` in size and a variance at most its square, which leaves room
 * for images of 0 to 255; no variance is less than zero.
 */
export function refusalOfValues(
  { parameters }: Layout,
  values: Vector,
  maxAbs: number,
): Refusal | undefined {
  const infinite = values.filter((value) => !Number.isFinite(value)).length;
  if (infinite > 0)
    return {
      code: "not-finite",
      message: `"statistics" has ${infinite} numbers that are not finite`,
    };
  for (const place of parameters) {
    const [least, most] = isVariance(place.name) ? [0, maxAbs ** 2] : [-maxAbs, maxAbs];
    const wrong = parameterView(values, place).find((value) => value < least || value > most);
    if (wrong !== undefined)
      return {
        code: "range",
        message: `"${place.name}" expected numbers from ${least} to ${most}, got ${wrong}: smaller inputs, or --batch-norm frozen or local, may help`,
      };
  }
  return undefined;
}

/** The mean of the running values of a round's updates. */
export interface RunningMean {
  /** Merges with that of another process. */
  readonly fold: RoundFold;
  add(update: Omit<GatheredUpdate, "vectors">, values: Vector): void;
  /**
   * The next running values: (1 - a) old + a mean, a being the share of the weights that staleness
   * leaves. The same bits in whatever order the updates were added.
   */
  result(old: Vector): Vector;
}

export function openRunningMean(
  { size, parameters }: Layout,
  maxAbs: number,
  limits: RoundLimits,
): RunningMean {
  // A few numbers: added in plain code, for the kernels' memory is the update's.
  // Behind the values stands a one, whose sum is that of the weights as staleness leaves them.
  const most = Math.max(1, maxAbs);
  const domain = domainOf(WEIGHTED, { size: size + 1, ...limits, maxAbs: most });
  const fold: RoundFold = emptyFold(domain);
  // Variances are squares: so divided, they lie within the same bound. By a power of two no bit of
  // theirs is lost.
  const unit = 2 ** Math.ceil(Math.log2(most));
  const units = new Float64Array(size).fill(1);
  for (const { name, offset, size } of parameters)
    if (isVariance(name)) units.fill(unit, offset, offset + size);
  return {
    fold,
    add({ client, sha256, samples, staleness }, given) {
      const values = new Float32Array(size + 1).fill(1);
      given.forEach((value, i) => (values[i] = value / units[i]));
      const contribution = contributionOf(WEIGHTED, { values }, samples, { staleness, domain });
      addToFold(fold, client, sha256, contribution);
    },
    result(old) {
      const { sums, weights } = foldFor(fold);
      const [sum, whole] = [sums["values"], weights["values"]];
      if (whole === 0) return old;
      const kept = 1 - sum[size] / whole;
      return old.map((value, i) => kept * value + (units[i] * sum[i]) / whole);
    },
  };
}

/** Running values, which lie behind a model that they are averaged for. */
export interface RunningValues {
  readonly layout: Layout;
  readonly values: Vector;
}

/** What a reducer does with the running values of its run; nothing where it averages none. */
export function runningValuesIn(layout: Layout | undefined, maxAbs: number) {
  const form = layout && runningValuesForm(layout);
  const kept = new Map<string, Vector>();
  let mean: RunningMean | undefined;
  /** Where an update's own bytes end. */
  const endOf = ({ length }: Uint8Array) => Math.max(0, length - (form?.bytes ?? 0));
  return {
    begin(limits: RoundLimits): void {
      mean = layout && openRunningMean(layout, maxAbs, limits);
    },
    ownOf: (bytes: Uint8Array): Uint8Array => bytes.subarray(0, endOf(bytes)),
    /** Why an update's are refused; else they are kept under the key. */
    check(key: string, bytes: Uint8Array): Refusal | undefined {
      if (layout === undefined || form === undefined) return undefined;
      let values: Vector;
      try {
        values = form.decode(bytes.subarray(endOf(bytes)));
      } catch (error) {
        if (!(error instanceof ModelError)) throw error;
        return { code: error.code, message: error.message };
      }
      const refusal = refusalOfValues(layout, values, maxAbs);
      if (refusal === undefined) kept.set(key, values);
      return refusal;
    },
    add(key: string, update: Omit<GatheredUpdate, "vectors">): void {
      const values = kept.get(key);
      kept.delete(key);
      if (values !== undefined) mean?.add(update, values);
    },
    drop: (key: string): boolean => kept.delete(key),
    /** The round's. */
    folds: (): readonly RoundFold[] => (mean === undefined ? [] : [mean.fold]),
    /** Those behind the next model; the current one's memory is used again. */
    next: (model: Uint8Array): RunningValues | undefined =>
      layout &&
      mean && { layout, values: mean.result(readBlob(model, layout, [MODEL])[MODEL].slice()) },
  };
}
