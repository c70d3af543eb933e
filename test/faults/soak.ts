import { readdirSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Aggregator } from "../../aggregator/run/aggregator.js";
import { collectAll, keepYoungSmall } from "../../aggregator/memory.js";
import { listen } from "../../aggregator/server/server.js";
import { FederatedClient } from "../../runtime/client.js";
import { memoryStore } from "../../runtime/platform/memory-store.js";
import { labIdentity } from "../../runtime/platform/node-identity.js";
import { nodePlatform } from "../../runtime/platform/node.js";
import { trainerHere } from "../training/engines.js";
import { learningData, learningModel } from "./learning.js";

const CLIENTS = 10;

/** What must not grow. */
export interface Footprint {
  readonly round: number;
  /** Bytes, after a collection. */
  readonly rss: number;
  readonly heap: number;
  /** Bytes outside of the heap: updates, models, the kernels' memory with its tensors. */
  readonly buffers: number;
  readonly handles: number;
  /** Open files and sockets; -1 where the system does not tell. */
  readonly descriptors: number;
}

/**
 * Ten real clients on sockets and their aggregator in this process, for so many short rounds;
 * footprints at even distances.
 */
export async function soak(
  rounds: number,
  looks: number,
  tell: (footprint: Footprint) => void = () => {},
): Promise<Footprint[]> {
  // How far the heap's young part has grown says nothing of what is kept.
  keepYoungSmall();
  const trainer = await trainerHere("simd");
  const folder = await mkdtemp(join(tmpdir(), "fedflat-soak-"));
  const aggregator = await Aggregator.open({
    model: learningModel(),
    folder,
    settings: {
      rounds,
      gather: CLIENTS,
      minimum: CLIENTS,
      overSelection: 1,
      evaluateFraction: 0,
      localEpochs: 1,
      batchSize: 10,
    },
  });
  const server = await listen(aggregator, { port: 0 });
  const footprints: Footprint[] = [];
  aggregator.on("round", ({ round }) => {
    if (round % Math.floor(rounds / looks) !== 0 || round === rounds) return;
    // What garbage is there when we look depends on how fast the machine is.
    collectAll();
    const { rss, heapUsed, external } = process.memoryUsage();
    const footprint = {
      round,
      rss,
      heap: heapUsed,
      buffers: external,
      handles: process.getActiveResourcesInfo().length,
      descriptors: descriptorsOpen(),
    };
    footprints.push(footprint);
    tell(footprint);
  });
  const clients = Array.from({ length: CLIENTS }, (_, i) => {
    const store = memoryStore();
    return new FederatedClient(
      {
        url: server.url,
        state: "",
        data: learningData(i, 20),
        trainer: { ...trainer, close() {} },
      },
      {
        ...nodePlatform({ identity: labIdentity("soak", i) }),
        openState: async () => store,
      },
    );
  });
  await Promise.all(clients.map((client) => client.run()));
  await aggregator.done;
  await aggregator.stop();
  await server.close();
  trainer.close();
  await rm(folder, { recursive: true, force: true });
  return footprints;
}

/** What grew from the second look (the first ones warm up) to the last one, in words. */
export function grown(footprints: readonly Footprint[]): string[] {
  const first = footprints[1];
  const last = footprints[footprints.length - 1];
  const MB = 1024 * 1024;
  const most: Partial<Record<keyof Footprint, number>> = {
    rss: 32 * MB,
    heap: 8 * MB,
    buffers: 8 * MB,
    // One more or less is a timer between two others.
    handles: 8,
    descriptors: 2,
  };
  return Object.entries(most).flatMap(([what, bound]) => {
    const by = last[what as keyof Footprint] - first[what as keyof Footprint];
    return by > bound ? [`${what} grew by ${by}, more than ${bound}`] : [];
  });
}

function descriptorsOpen(): number {
  try {
    return readdirSync("/proc/self/fd").length;
  } catch {
    return -1;
  }
}
