import { networkOf } from "../runtime/models/network.js";
import { preset } from "../runtime/models/presets.js";
import { takeTurns, type Compare } from "./comparison.js";
import { pytorch, pytorchVersion } from "./pytorch.js";
import {
  caseOf,
  check,
  CHECKED_STEPS,
  matrixProduct,
  mlp,
  ours,
  PRODUCT,
  productsOf,
  SETTINGS,
  type Case,
} from "./step.js";
import { tfjsStep } from "./tfjs-step.js";

/** How a case's time is judged on the relaxed build. */
type Target = "PyTorch" | "ceiling";

/** The networks of the issues, each with its target. */
const CASES: readonly (readonly [Case, Target])[] = [
  [caseOf("CIFAR network, batch 32", networkOf(preset("cifar")), 32), "PyTorch"],
  [caseOf("CIFAR network, batch 50", networkOf(preset("cifar")), 50), "PyTorch"],
  [caseOf("sensor network, batch 32", networkOf(preset("sensor")), 32), "PyTorch"],
  [caseOf("MLP 561-128-6, batch 32", mlp, 32), "PyTorch"],
  [caseOf("ResNet-8, batch 32", networkOf(preset("resnet-8")), 32), "PyTorch"],
  [caseOf("DS-CNN, batch 32", networkOf(preset("ds-cnn")), 32), "PyTorch"],
  [caseOf("autoencoder of 640, batch 32", networkOf(preset("autoencoder")), 32), "PyTorch"],
  [caseOf("forecast, 64 steps, batch 32", networkOf(preset("forecast")), 32), "PyTorch"],
  [caseOf("LSTM 2 x 256, 80 steps, batch 32", networkOf(preset("shakespeare")), 32), "ceiling"],
  [caseOf("characters block, batch 32", networkOf(preset("characters")), 32), "ceiling"],
];

/** The names of the cases, each run in a process of its own; or those that `FEDFLAT_BENCH` names part of. */
export const parts = CASES.map(([{ name }]) => name).filter((name) =>
  name.includes(process.env["FEDFLAT_BENCH"] ?? ""),
);

/** What plain tfjs can train on its wasm backend: neither convolutions nor lookups. */
const STOCK = new Set(["MLP 561-128-6, batch 32", "autoencoder of 640, batch 32"]);

/**
 * Whole SGD steps (forward, backward, clip, weight decay, update), against PyTorch, tfjs, and what
 * the build's matrix product reaches.
 */
export const compare: Compare = async (report, part) => {
  const hasTorch = pytorchVersion() !== undefined;
  const [one, target] = CASES.find(([{ name }]) => name === part)!;
  const { name, network, batch, x, y, weights } = one;
  const relaxed = await ours(one, "relaxed", "relaxed");
  const simd = await ours(one, "simd", "simd");
  check(name, simd.after, relaxed.after);
  const torch = (narrow: boolean, zeta = 0) =>
    pytorch(
      {
        ...SETTINGS,
        zeta,
        batch,
        input: network.input,
        layers: network.description.layers,
        loss: network.description.loss ?? { type: "softmaxCrossEntropy" },
        parameters: network.layout.parameters,
        checkedSteps: CHECKED_STEPS,
      },
      x,
      y,
      weights,
      narrow,
    );
  const peers = hasTorch ? [await torch(false), await torch(true)] : [];
  for (const peer of peers) check(`${name}, ${peer.name}`, relaxed.after, peer.after);
  const man = await ours(one, "relaxed", "with MAN", { zeta: 0.15 });
  const sam = await ours(one, "relaxed", "FedSAM", {
    objective: { ascent: { kind: "sam", radius: 0.05, clipped: true } },
  });
  const stock = STOCK.has(name) ? await tfjsStep(one, SETTINGS, "wasm", CHECKED_STEPS) : undefined;
  if (stock) check(`${name}, tfjs-wasm`, relaxed.after, stock.weights());
  const products =
    target === "ceiling" ? [await matrixProduct("relaxed"), await matrixProduct("simd")] : [];
  const ms = await takeTurns([
    relaxed,
    simd,
    man,
    sam,
    ...peers,
    ...(stock ? [stock] : []),
    ...products,
  ]);
  for (const peer of peers) peer.close();
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
  if (peers.length > 0) {
    const time = ms["PyTorch"];
    if (target === "PyTorch")
      figure(
        "SGD step, relaxed build",
        ms["relaxed"],
        "PyTorch",
        time,
        "<= 1.0 x its time",
        ms["relaxed"] <= time,
      );
    else figure("SGD step, relaxed build", ms["relaxed"], "PyTorch", time);
    figure("SGD step, SIMD build", ms["simd"], "PyTorch", time);
    figure(
      "SGD step, relaxed build",
      ms["relaxed"],
      "PyTorch without AVX-512",
      ms["PyTorch without AVX-512"],
    );
  }
  for (const { name: product, build } of products) {
    const rate = productsOf(one) / ms[build] / 1e6;
    const ceiling = PRODUCT / ms[product] / 1e6;
    report({
      name: `${name}: products of the step, ${build === "simd" ? "SIMD" : build} build`,
      value: rate,
      unit: "GFLOP/s",
      baseline: "a product of 512",
      baselineValue: ceiling,
      ratio: rate / ceiling,
      target: ">= 0.75 x",
      met: rate >= 0.75 * ceiling,
    });
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
};
