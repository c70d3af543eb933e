import { networkOf, type Network } from "../runtime/models/network.js";
import { initialWeights } from "../runtime/models/initial.js";
import { parseDescription } from "../runtime/models/description.js";
import { random } from "../runtime/tensors/random.js";
import { allowRelaxedSimd, readKernelBinaries } from "../runtime/platform/node-kernels.js";
import { compile } from "../runtime/training/plan.js";
import { stepperOf } from "../runtime/training/step.js";
import type { LocalObjective } from "../runtime/algorithms/algorithm.js";
import type { KernelBuild } from "../runtime/wasm/kernels.js";
import { compileKernels, instantiateKernels } from "../runtime/wasm/load.js";
import { ownHeap } from "../runtime/wasm/own-heap.js";
import { here, type Contender } from "./comparison.js";

allowRelaxedSimd();

export const SETTINGS = {
  learningRate: 0.01,
  weightDecay: 1e-3,
  clipNorm: 10,
  manIncludesLogits: false,
};
export const CHECKED_STEPS = 3;

/** A network, a batch of noise, and weights: the same for all contenders. */
export interface Case {
  readonly name: string;
  readonly network: Network;
  readonly batch: number;
  readonly x: Float32Array;
  readonly y: Int32Array;
  readonly weights: Float32Array;
}

export function caseOf(name: string, network: Network, batch: number): Case {
  const chance = random("bench", name);
  const size = network.input.reduce((a, b) => a * b, batch);
  return {
    name,
    network,
    batch,
    x: new Float32Array(size).map(() => chance.normal()),
    y: new Int32Array(batch).map(() => chance.integer(network.classes)),
    weights: initialWeights(network, "bench"),
  };
}

/** Our own step on one build; `after` are the weights after the checked steps. */
export async function ours(
  { network, batch, x, y, weights }: Case,
  build: KernelBuild,
  name: string,
  {
    zeta = 0,
    objective = {},
    checkedSteps = CHECKED_STEPS,
  }: {
    zeta?: number;
    objective?: LocalObjective;
    checkedSteps?: number;
  } = {},
): Promise<Contender & { readonly after: Float32Array }> {
  const heap = ownHeap(65536);
  const kernels = await instantiateKernels(
    await compileKernels(readKernelBinaries(), build),
    heap.memory,
  );
  const plan = compile(network, batch, kernels, heap, "train");
  const stepper = stepperOf(plan, objective, { ...SETTINGS, zeta });
  plan.setWeights(weights);
  plan.inputs().set(x);
  plan.labels().set(y);
  const chance = random("bench", "dropout");
  const step = () => stepper.step(batch, chance);
  for (let i = 0; i < checkedSteps; i++) step();
  return { ...here(name, step), after: plan.weights() };
}

/** @throws Error where two contenders disagree: a wrong answer is not timed. */
export function check(name: string, got: Float32Array, expected: Float32Array): void {
  let worst = 0;
  let scale = 0;
  for (let i = 0; i < expected.length; i++) {
    worst = Math.max(worst, Math.abs(got[i] - expected[i]));
    scale = Math.max(scale, Math.abs(expected[i]));
  }
  if (!(worst <= 2e-4 * scale) || got.length !== expected.length)
    throw new Error(`${name}: weights differ by ${worst} of ${scale}`);
}

export const mlp = networkOf(
  parseDescription({
    input: [561],
    layers: [
      { type: "dense", units: 128, activation: "relu" },
      { type: "dense", units: 6 },
    ],
  }),
);
