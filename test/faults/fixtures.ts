import type { Aggregator } from "../../aggregator/run/aggregator.js";
import type { GivenSettings } from "../../aggregator/settings.js";
import { FederatedClient } from "../../runtime/client.js";
import { random } from "../../runtime/tensors/random.js";
import { memoryLine } from "../../runtime/platform/memory-line.js";
import { memoryStore } from "../../runtime/platform/memory-store.js";
import { labIdentity } from "../../runtime/platform/node-identity.js";
import { nodePlatform } from "../../runtime/platform/node.js";
import type { StateStore } from "../../runtime/platform/platform.js";
import type { Trainer } from "../../runtime/training/job.js";

/** Clients of a laboratory for faults. */
export const CLIENTS = 3;

export { tinyModel as labModel } from "../aggregator/run/federation.js";

/**
 * FedDyn, because its server and its clients must agree on what was counted; nothing that only time
 * decides.
 */
export const LAB: GivenSettings = {
  algorithm: "feddyn",
  rounds: 10,
  gather: CLIENTS,
  minimum: CLIENTS,
  overSelection: 1,
  quorum: 1,
  evaluateFraction: 0,
  localEpochs: 1,
  pause: 1,
  seed: "lab",
};

const never = (): never => {
  throw new Error("not in this laboratory");
};

/**
 * Trains at once: a step against the objective's linear term, and noise that the round's seed
 * decides.
 */
export const labTrainer: Trainer = {
  async train({ weights, objective, part, settings }) {
    const chance = random(settings.seed);
    const { linear } = objective;
    return {
      delta: weights.map((w, i) => 0.1 * chance.normal() - 0.1 * w - (linear?.[i] ?? 0)),
      metrics: {
        samples: part.rows.length,
        lossBefore: 2,
        lossAfter: 1,
        activationNorms: [],
        seconds: 0,
      },
    };
  },
  evaluate: async ({ part }) => ({
    count: part.rows.length,
    correct: 1,
    loss: 1,
  }),
  hessianProduct: never,
  predict: never,
  close() {},
};

export interface LabClient {
  readonly client: FederatedClient;
  readonly store: StateStore;
}

/** A real client with a trainer that costs nothing, on a connection in memory or at a URL. */
export function labClient(
  index: number,
  where: Aggregator | string,
  store: StateStore = memoryStore(),
): LabClient {
  const platform = {
    ...nodePlatform({ identity: labIdentity("lab", index) }),
    openState: async () => store,
    ...(typeof where !== "string" && {
      openSocket() {
        const [here, there] = memoryLine();
        queueMicrotask(() => where.attach(there, { host: "lab", address: "memory" }));
        return here;
      },
    }),
  };
  const count = 20 + 5 * index;
  const client = new FederatedClient(
    {
      url: typeof where === "string" ? where : "ws://lab",
      state: "",
      data: {
        x: new Float32Array(4 * count),
        y: Array.from({ length: count }, (_, i) => i % 3),
      },
      trainer: labTrainer,
    },
    platform,
  );
  return { client, store };
}
