import type { Part } from "../data/dataset.js";
import { networkOf } from "../models/network.js";
import type { Trainer, Weighted } from "../training/job.js";
import { hessian, wholeOf } from "./hessian.js";
import { lanczos } from "./lanczos.js";

/**
 * Residual, relative to the eigenvalue, at which Lanczos stops; the eigenvalue itself is closer
 * than that.
 */
export const TOLERANCE = 1e-3;

/** The largest eigenvalue of the Hessian of the mean cross-entropy over `part` at these weights. */
export async function topEigenvalue(
  trainer: Trainer,
  model: Weighted,
  part: Part,
  seed: string | number,
): Promise<number> {
  const block = wholeOf(networkOf(model.description).shares.learning.layout);
  const { values } = await lanczos(hessian(trainer, model, part)(block), block.size, {
    count: 1,
    seed,
    tolerance: TOLERANCE,
  });
  return values[0];
}
