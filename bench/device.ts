import type { Compare } from "./comparison.js";
import { deviceCost } from "./device-cost.js";

/** What a Node client costs a device: memory, start-up, processor time. */
export const compare: Compare = async (report) => {
  const samples = 500;
  for (const [name, model, limit] of [
    ["CIFAR network, batch 50", "cifar", 180],
    ["sensor network, batch 50", "sensor", undefined],
  ] as const) {
    const cost = await deviceCost(model, { samples });
    report({
      name: `${name}: peak memory of the client's process`,
      value: cost.peakMegabytes,
      unit: "MB",
      ...(limit && {
        target: `<= ${limit} MB`,
        met: cost.peakMegabytes <= limit,
      }),
    });
    report({
      name: `${name}: start of the process to first step, over the socket`,
      value: cost.firstStepMilliseconds,
      unit: "ms",
    });
    report({
      name: `${name}: processor time a sample and local epoch`,
      value: (cost.cpuSecondsOfRound / samples) * 1000,
      unit: "ms",
    });
  }
};
