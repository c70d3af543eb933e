import type { LocalObjective } from "../algorithms/algorithm.js";
import type { Shares } from "../models/shares.js";
import type { Random } from "../tensors/random.js";
import type { Vector } from "../tensors/layout.js";
import { movesBatchNorm, type RoundSettings } from "./local-round.js";
import type { ObjectiveResult, Plan } from "./plan.js";

type StepSettings = Pick<
  RoundSettings,
  "learningRate" | "weightDecay" | "clipNorm" | "zeta" | "manIncludesLogits" | "batchNorm"
>;

/** Local steps on one plan, with the objective's own vectors on its heap. */
interface Stepper {
  /**
   * One step on the first `batch` examples of the plan; what is measured is measured before the
   * step.
   * @param moving what moves, if not all: the rest is held as if it were frozen
   */
  step(batch: number, chance: Random, moving?: "shared" | "personal"): ObjectiveResult;
  free(): void;
}

/** Bytes of the heap that `stepperOf` takes for an objective with every term. */
export const stepperMemory = ({ shared, learning }: Shares): number =>
  4 * (2 * shared.layout.size + learning.layout.size);

/**
 * The step that all algorithms share (architecture.md, idea 1): g <- clip(grad F + p (theta -
 * center) + v); theta <- theta - eta (g + wd theta), in one pass over the parameters. With
 * `ascent`, grad F is taken at theta + e: SAM's e = rho g1 / ||g1|| (Foret et al. 2021,
 * arXiv:2010.01412, eq. 2), ASAM's e = rho T^2 g1 / ||T g1||, T = |theta| + eta on kernels and 1
 * elsewhere (Kwon et al. 2021, arXiv:2102.11600, eq. 8). Frozen parameters are in none of it, the
 * norms included; to personal ones an algorithm has nothing to add: p and v are 0.
 */
export function stepperOf(plan: Plan, objective: LocalObjective, settings: StepSettings): Stepper {
  const { kernels, heap, parameters: theta, gradient } = plan;
  const { shares } = plan.network;
  const { layout } = shares.learning;
  const { size } = shares.shared.layout;
  const { proximal, linear, ascent } = objective;
  const bytes = 4 * layout.size;
  const held: number[] = [];
  const take = (count: number): number => {
    const address = heap.allocate(4 * count);
    held.push(address);
    return address;
  };
  const hold = (vector: Vector): number => {
    const address = take(size);
    new Float32Array(heap.memory.buffer, address, size).set(vector);
    return address;
  };
  const free = () => held.splice(0).forEach((address) => heap.free(address));
  const copy = (to: number, from: number) =>
    new Uint8Array(heap.memory.buffer).copyWithin(to, from, from + bytes);

  let center = 0;
  let correction = 0;
  let kept = 0;
  try {
    if (proximal !== undefined) center = hold(proximal.center);
    if (linear !== undefined) correction = hold(linear);
    if (ascent !== undefined) kept = take(layout.size);
  } catch (error) {
    free();
    throw error;
  }
  const proximity = proximal?.coefficient ?? 0;
  const weightDecay = settings.weightDecay + (objective.weightDecay ?? 0);
  const penalty = {
    zeta: settings.zeta,
    includesLogits: settings.manIncludesLogits,
  };

  const moves = movesBatchNorm(settings);

  /** What a vector of this norm is multiplied by so that it is no longer than the limit. */
  const clipScale = (norm: number) =>
    settings.clipNorm > 0 ? Math.min(1, settings.clipNorm / norm) : 1;

  /** How many of either kind move: all, or those of one kind alone. */
  let [shared, personal] = [0, 0];

  /** Of the gradient that is clipped, personal parameters' included. */
  const squaredNorm = (): number =>
    kernels.stepSquaredNorm(gradient, theta, center, correction, shared, proximity) +
    kernels.squaredNorm(gradient + 4 * size, personal);

  /** Moves theta to theta + e, having kept it. */
  function ascend({ kind, radius, eta = 0, clipped }: NonNullable<LocalObjective["ascent"]>): void {
    copy(kept, theta);
    const first = shared > 0 ? 0 : size;
    const count = shared + personal;
    const at = 4 * first;
    const squares = kernels.squaredNorm(gradient + at, count);
    const scale = clipped ? clipScale(Math.sqrt(squares)) : 1;
    // Keeps a gradient of zero at zero; the two values are those of the authors' code.
    const tiny = clipped ? 1e-16 : 1e-7;
    const factor = (squaredNorm: number) =>
      (radius * scale) / (scale * Math.sqrt(squaredNorm) + tiny);
    if (kind === "sam") {
      kernels.samAscent(theta + at, kept + at, gradient + at, count, factor(squares));
      return;
    }
    const parts = layout.parameters
      .filter(({ offset }) => offset >= first && offset < first + count)
      .map(({ name, offset, size }) => ({
        at: 4 * offset,
        size,
        // T = 1 is asked for by a negative eta.
        eta: /kernel$/i.test(name) ? eta : -1,
      }));
    let sum = 0;
    for (const { at, size, eta } of parts)
      sum += kernels.asamSquaredNorm(kept + at, gradient + at, size, eta);
    const length = factor(sum);
    for (const { at, size, eta } of parts)
      kernels.asamAscent(theta + at, kept + at, gradient + at, size, length, eta);
  }

  return {
    step(batch, chance, moving) {
      shared = moving === "personal" ? 0 : size;
      personal = moving === "shared" ? 0 : layout.size - size;
      const measured = plan.lossAndGradient(batch, penalty, chance, moves ? "learned" : "running");
      if (ascent !== undefined) {
        ascend(ascent);
        plan.lossAndGradient(batch, penalty, chance, moves ? "batch" : "running");
        copy(theta, kept);
      }
      const scale = settings.clipNorm > 0 ? clipScale(Math.sqrt(squaredNorm())) : 1;
      const rates = [scale, settings.learningRate, weightDecay] as const;
      kernels.step(theta, gradient, center, correction, shared, proximity, ...rates);
      kernels.step(theta + 4 * size, gradient + 4 * size, 0, 0, personal, 0, ...rates);
      return measured;
    },
    free,
  };
}
