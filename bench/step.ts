import { networkOf, type Network } from "../runtime/models/network.js";
import { initialWeights } from "../runtime/models/initial.js";
import { parseDescription } from "../runtime/models/description.js";
import { random } from "../runtime/tensors/random.js";
import { allowRelaxedSimd, readKernelBinaries } from "../runtime/platform/node-kernels.js";
import { compile } from "../runtime/training/plan.js";
import { stepperOf } from "../runtime/training/step.js";
import type { LocalObjective } from "../runtime/algorithms/algorithm.js";
import { SCRATCH_BYTES, type KernelBuild } from "../runtime/wasm/kernels.js";
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
  /** Classes, or numbers; none where the target is the input. */
  readonly y: Int32Array | Float32Array;
  readonly weights: Float32Array;
}

export function caseOf(name: string, network: Network, batch: number): Case {
  const chance = random("bench", name);
  const size = network.input.reduce((a, b) => a * b, batch);
  const [first] = network.description.layers;
  const { target } = network.loss;
  return {
    name,
    network,
    batch,
    x: new Float32Array(size).map(() =>
      first.type === "embedding" ? chance.integer(first.vocabulary) : chance.normal(),
    ),
    y:
      target.kind === "classes"
        ? new Int32Array(batch * target.size).map(() => chance.integer(network.classes))
        : new Float32Array(target.kind === "numbers" ? batch * target.size : 0).map(() =>
            chance.normal(),
          ),
    weights: initialWeights(network, "bench"),
  };
}

/**
 * Floating-point operations of one step's matrix products: forward, and the gradients by kernel and
 * by input, which the first layer has only where something before it learns.
 */
export function productsOf({ network, batch }: Case): number {
  let operations = 0;
  for (const { type, sources, input, output, parameters } of network.layers) {
    const rows = input.length > 1 ? input[0] : 1;
    const times = sources[0] < 0 ? 2 : 3;
    const kernels = parameters.filter(({ name }) => /kernel$/i.test(name));
    const multiplied = kernels.reduce((sum, { shape: [a, b] }) => sum + a * b, 0);
    if (type === "dense" || type === "lstm") operations += 2 * times * rows * multiplied;
    if (type === "multiHeadAttention") {
      const [, { shape }] = kernels;
      // Scores and values: two products of length^2 times the heads' width.
      operations += 2 * times * (rows * multiplied + 2 * rows * rows * shape[0]);
    }
    if (/^conv/.test(type)) {
      const positions = output.slice(0, -1).reduce((a, b) => a * b, 1);
      const [{ shape }] = kernels;
      operations += 2 * times * positions * shape.reduce((a, b) => a * b);
    }
  }
  return batch * operations;
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
  const { kind } = network.loss.target;
  if (kind === "classes") plan.labels().set(y);
  else if (kind === "numbers") plan.targets().set(y);
  const chance = random("bench", "dropout");
  const step = () => stepper.step(batch, chance);
  for (let i = 0; i < checkedSteps; i++) step();
  return { ...here(name, step), after: plan.weights() };
}

const SIDE = 512;
/** Floating-point operations of `matrixProduct`. */
export const PRODUCT = 2 * SIDE ** 3;

/** The product of two square matrices on one build: what its steps are measured by. */
export async function matrixProduct(
  build: KernelBuild,
): Promise<Contender & { readonly build: KernelBuild }> {
  const { memory, ...heap } = ownHeap(65536);
  const kernels = await instantiateKernels(
    await compileKernels(readKernelBinaries(), build),
    memory,
  );
  const [a, b, c] = [1, 2, 3].map(() => heap.allocate(4 * SIDE * SIDE));
  const scratch = heap.allocate(SCRATCH_BYTES);
  new Float32Array(memory.buffer, a, SIDE * SIDE).fill(0.5);
  new Float32Array(memory.buffer, b, SIDE * SIDE).fill(0.25);
  const sizes = [SIDE, SIDE, SIDE] as const;
  return {
    build,
    ...here(`a product of ${SIDE}, ${build}`, () =>
      kernels.gemm(0, ...sizes, a, SIDE, b, SIDE, c, SIDE, 0, scratch),
    ),
  };
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
