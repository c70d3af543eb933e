import { setFlagsFromString } from "node:v8";
import { networkOf, type Network } from "../runtime/models/network.js";
import { initialWeights } from "../runtime/models/initial.js";
import { parseDescription } from "../runtime/models/description.js";
import { preset } from "../runtime/models/presets.js";
import { random } from "../runtime/params/random.js";
import { readKernelBinaries } from "../runtime/platform/node-kernels.js";
import { compile } from "../runtime/training/plan.js";
import { stepperOf } from "../runtime/training/step.js";
import type { LocalObjective } from "../runtime/algorithms/algorithm.js";
import type { KernelBuild } from "../runtime/wasm/kernels.js";
import { compileKernels, instantiateKernels } from "../runtime/wasm/load.js";
import { ownHeap } from "../runtime/wasm/own-heap.js";
import { here, takeTurns, type Compare, type Contender } from "./comparison.js";
import { pytorch, pytorchVersion } from "./pytorch.js";
import { tfjsStep } from "./tfjs-step.js";

// Node 20 knows relaxed SIMD only with this flag.
setFlagsFromString("--experimental-wasm-relaxed-simd");

const SETTINGS = {
  learningRate: 0.01,
  weightDecay: 1e-3,
  clipNorm: 10,
  manIncludesLogits: false,
};
const CHECKED_STEPS = 3;

/** A network, a batch of noise, and weights: the same for all contenders. */
interface Case {
  readonly name: string;
  readonly network: Network;
  readonly batch: number;
  readonly x: Float32Array;
  readonly y: Int32Array;
  readonly weights: Float32Array;
}

function caseOf(name: string, network: Network, batch: number): Case {
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
async function ours(
  { network, batch, x, y, weights }: Case,
  build: KernelBuild,
  name: string,
  zeta = 0,
  objective: LocalObjective = {},
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
  for (let i = 0; i < CHECKED_STEPS; i++) step();
  return { ...here(name, step), after: plan.weights() };
}

/** @throws Error where two contenders disagree: a wrong answer is not timed. */
function check(name: string, got: Float32Array, expected: Float32Array): void {
  let worst = 0;
  let scale = 0;
  for (let i = 0; i < expected.length; i++) {
    worst = Math.max(worst, Math.abs(got[i] - expected[i]));
    scale = Math.max(scale, Math.abs(expected[i]));
  }
  if (!(worst <= 2e-4 * scale) || got.length !== expected.length)
    throw new Error(`${name}: weights differ by ${worst} of ${scale}`);
}

const mlp = networkOf(
  parseDescription({
    input: [561],
    layers: [
      { type: "dense", units: 128, activation: "relu" },
      { type: "dense", units: 6 },
    ],
  }),
);

/** Whole SGD steps (forward, backward, clip, weight decay, update) of the networks of the issues, against PyTorch and tfjs. */
export const compare: Compare = async (report) => {
  const hasTorch = pytorchVersion() !== undefined;
  const cases = [
    caseOf("CIFAR network, batch 32", networkOf(preset("cifar")), 32),
    caseOf("CIFAR network, batch 50", networkOf(preset("cifar")), 50),
    caseOf("sensor network, batch 32", networkOf(preset("sensor")), 32),
    caseOf("MLP 561-128-6, batch 32", mlp, 32),
  ];
  for (const one of cases) {
    const { name, network, batch, x, y, weights } = one;
    const relaxed = await ours(one, "relaxed", "relaxed");
    const simd = await ours(one, "simd", "simd");
    check(name, simd.after, relaxed.after);
    const peer = hasTorch
      ? await pytorch(
          {
            ...SETTINGS,
            zeta: 0,
            batch,
            input: network.input,
            layers: network.description.layers,
            parameters: network.layout.parameters,
            checkedSteps: CHECKED_STEPS,
          },
          x,
          y,
          weights,
        )
      : undefined;
    if (peer) check(`${name}, PyTorch`, relaxed.after, peer.after);
    const man = await ours(one, "relaxed", "with MAN", 0.15);
    const sam = await ours(one, "relaxed", "FedSAM", 0, {
      ascent: { kind: "sam", radius: 0.05, clipped: true },
    });
    const stock =
      network === mlp
        ? await tfjsStep(one, SETTINGS, "wasm", CHECKED_STEPS)
        : undefined;
    if (stock) check(`${name}, tfjs-wasm`, relaxed.after, stock.after);
    const ms = await takeTurns([
      relaxed,
      simd,
      man,
      sam,
      ...(peer ? [peer] : []),
      ...(stock ? [stock] : []),
    ]);
    peer?.close();
    const figure = (
      what: string,
      value: number,
      baseline: string,
      baselineValue: number,
      target?: string,
      met?: boolean,
    ) =>
      report({
        name: `${name}: ${what}`,
        value,
        unit: "ms",
        baseline,
        baselineValue,
        ratio: baselineValue / value,
        target,
        met,
      });
    if (peer) {
      const torch = ms["PyTorch"];
      figure(
        "SGD step, relaxed build",
        ms["relaxed"],
        "PyTorch",
        torch,
        "<= 1.0 x its time",
        ms["relaxed"] <= torch,
      );
      figure("SGD step, SIMD build", ms["simd"], "PyTorch", torch);
    }
    if (stock)
      figure(
        "SGD step, SIMD build",
        ms["simd"],
        "stock tfjs-wasm",
        ms["tfjs wasm"],
        ">= 5 x",
        ms["tfjs wasm"] >= 5 * ms["simd"],
      );
    figure(
      "MAN on, relaxed build",
      ms["with MAN"],
      "MAN off",
      ms["relaxed"],
      "<= 1.02 x its time",
      ms["with MAN"] <= 1.02 * ms["relaxed"],
    );
    figure(
      "FedSAM step, relaxed build",
      ms["FedSAM"],
      "plain step",
      ms["relaxed"],
      "<= 2.05 x its time",
      ms["FedSAM"] <= 2.05 * ms["relaxed"],
    );
    if (name === "CIFAR network, batch 32") {
      const cpu = await tfjsStep(one, SETTINGS, "cpu", 1);
      const again = await ours(one, "simd", "simd");
      // A step of the cpu backend takes most of a minute: one burst of one step, between two of ours.
      const before = await again.burst(5);
      const slow = await cpu.burst(1);
      const fast = (before + (await again.burst(5))) / 10;
      figure(
        "SGD step, SIMD build",
        fast,
        "tfjs cpu",
        slow,
        ">= 60 x",
        slow >= 60 * fast,
      );
    }
  }
};
