import { networkOf } from "../runtime/models/network.js";
import { preset } from "../runtime/models/presets.js";
import type { Compare } from "./comparison.js";
import { caseOf, check, ours, SETTINGS } from "./step.js";
import { tfjsStep } from "./tfjs-step.js";

/**
 * One SGD step of the CIFAR network against tfjs's cpu backend, the only one of tfjs's that can
 * take it without a GPU.
 */
export const compare: Compare = async (report) => {
  const one = caseOf("CIFAR network, batch 32", networkOf(preset("cifar")), 32);
  const simd = await ours(one, "simd", "simd", { checkedSteps: 1 });
  // Its step takes a minute or more, so it is timed once, between two bursts of ours.
  await simd.burst(10);
  const before = await simd.burst(10);
  const cpu = await tfjsStep(one, SETTINGS, "cpu", 0);
  const slow = await cpu.burst(1);
  const fast = (before + (await simd.burst(10))) / 20;
  check(`${one.name}, tfjs cpu`, simd.after, cpu.weights());
  report({
    name: `${one.name}: SGD step, SIMD build`,
    value: fast,
    unit: "ms",
    baseline: "tfjs cpu, one step",
    baselineValue: slow,
    ratio: slow / fast,
    target: ">= 60 x",
    met: slow >= 60 * fast,
  });
};
