import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { fileURLToPath } from "node:url";
import { initialWeights } from "../runtime/models/initial.js";
import { networkOf } from "../runtime/models/network.js";
import { preset } from "../runtime/models/presets.js";
import { federation } from "../test/aggregator/run/federation.js";

export interface DeviceCost {
  /** From the start of the process to the end of its first step, or a tenth of a second later. */
  readonly firstStepMilliseconds: number;
  /** Processor time of all its threads from accepting the last round to offering its update. */
  readonly cpuSecondsOfRound: number;
  /** Peak resident memory of the whole process. */
  readonly peakMegabytes: number;
}

/**
 * What a Node client costs that trains `rounds` rounds of a preset on so many samples, one local
 * epoch, with MAN.
 */
export async function deviceCost(
  model: string,
  {
    samples = 500,
    batchSize = 50,
    rounds = 10,
  }: { samples?: number; batchSize?: number; rounds?: number } = {},
): Promise<DeviceCost> {
  const description = preset(model);
  const network = networkOf(description);
  const folder = await mkdtemp(join(tmpdir(), "fedflat-device-"));
  const run = await federation(
    { rounds, minimum: 1, localEpochs: 1, batchSize, zeta: 0.15 },
    {
      model: {
        description,
        layout: network.layout,
        weights: initialWeights(network, "device"),
        classes: Array.from({ length: network.classes }, (_, i) => `${i}`),
      },
    },
  );
  try {
    const { stdout } = await promisify(execFile)(process.execPath, [
      fileURLToPath(new URL("./device-client.js", import.meta.url)),
      run.url,
      folder,
      network.input.join("x"),
      String(network.classes),
      String(samples),
    ]);
    return JSON.parse(stdout.trim().split("\n").pop()!);
  } finally {
    await run.end();
    await rm(folder, { recursive: true });
  }
}
