import { networkOf } from "../runtime/models/network.js";
import { preset } from "../runtime/models/presets.js";
import { takeTurns, type Compare } from "./comparison.js";
import { pytorch, pytorchVersion } from "./pytorch.js";
import { caseOf, check, CHECKED_STEPS, mlp, ours, SETTINGS } from "./step.js";
import { tfjsStep } from "./tfjs-step.js";

/**
 * Whole SGD steps (forward, backward, clip, weight decay, update) of the networks of the issues,
 * against PyTorch and tfjs.
 */
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
    const torch = (narrow: boolean, zeta = 0) =>
      pytorch(
        {
          ...SETTINGS,
          zeta,
          batch,
          input: network.input,
          layers: network.description.layers,
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
    const stock =
      network === mlp ? await tfjsStep(one, SETTINGS, "wasm", CHECKED_STEPS) : undefined;
    if (stock) check(`${name}, tfjs-wasm`, relaxed.after, stock.weights());
    const ms = await takeTurns([relaxed, simd, man, sam, ...peers, ...(stock ? [stock] : [])]);
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
      figure(
        "SGD step, relaxed build",
        ms["relaxed"],
        "PyTorch",
        time,
        "<= 1.0 x its time",
        ms["relaxed"] <= time,
      );
      figure("SGD step, SIMD build", ms["simd"], "PyTorch", time);
      figure(
        "SGD step, relaxed build",
        ms["relaxed"],
        "PyTorch without AVX-512",
        ms["PyTorch without AVX-512"],
      );
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
  }
};
