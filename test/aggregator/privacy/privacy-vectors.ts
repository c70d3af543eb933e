import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readSafetensors } from "../../../runtime/tensors/safetensors.js";

// Numbers of test/vectors/next, or of another folder of the same form.
const folder =
  process.env["FEDFLAT_VECTORS_NEXT"] ??
  fileURLToPath(new URL("../../../../test/vectors/next", import.meta.url));

export const reference = JSON.parse(readFileSync(join(folder, "privacy.json"), "utf8")) as {
  readonly orders: readonly number[];
  readonly subsampledGaussian: readonly {
    readonly q: number;
    readonly z: number;
    readonly T: number;
    readonly delta: number;
    readonly rdpAt: Readonly<Record<string, number>>;
    readonly rdpEpsilon: number;
    readonly rdpOrder: number;
    readonly rdpEpsilonFractional: number;
    readonly pldEpsilonRemove: number;
    readonly pldEpsilonAdd: number;
    readonly pldEpsilon: number;
    readonly exact?: number;
  }[];
  readonly calibration: readonly {
    readonly q: number;
    readonly T: number;
    readonly delta: number;
    readonly epsilon: number;
    readonly z: number;
  }[];
  readonly round: {
    readonly C: number;
    readonly z: number;
    readonly fixedDenominator: number;
    readonly truncationGrid: number;
    readonly norms: readonly number[];
    readonly factors: readonly number[];
  };
  readonly analyticGaussian: readonly {
    readonly epsilon: number;
    readonly delta: number;
    readonly sigma: number;
  }[];
  readonly discreteGaussian: readonly {
    readonly sigma2: number;
    readonly pmf: Readonly<Record<string, number>>;
    readonly variance: number;
  }[];
  readonly subsampledDiscreteGaussian: {
    readonly q: number;
    readonly sigma2: number;
    readonly shift: number;
    readonly orders: Readonly<Record<string, { readonly exact: number }>>;
  };
};

/** The tensors of one round. */
export const roundTensors = () =>
  readSafetensors(readFileSync(join(folder, "privacy.safetensors"))).tensors;
