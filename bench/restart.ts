import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Aggregator } from "../aggregator/run/aggregator.js";
import { listen } from "../aggregator/server/server.js";
import { FederatedClient } from "../runtime/client.js";
import { layoutOf } from "../runtime/tensors/layout.js";
import type { Model } from "../runtime/models/model.js";
import { memoryStore } from "../runtime/platform/memory-store.js";
import { labIdentity } from "../runtime/platform/node-identity.js";
import { nodePlatform } from "../runtime/platform/node.js";
import type { Trainer } from "../runtime/training/job.js";
import type { Compare } from "./comparison.js";

const WIDTH = 5000;
const SECONDS = 5;

/** One dense layer of 25 million weights: 100 MB. */
function largeModel(): Model {
  const layout = layoutOf([
    { name: "0.kernel", shape: [WIDTH, WIDTH] },
    { name: "0.bias", shape: [WIDTH] },
  ]);
  return {
    description: {
      input: [WIDTH],
      layers: [{ type: "dense", units: WIDTH }],
    },
    layout,
    weights: Float32Array.from({ length: layout.size }, (_, i) => i % 97),
    classes: Array.from({ length: WIDTH }, (_, i) => String(i)),
  };
}

/**
 * How long an aggregator that was stopped in a round takes, from its start, until a client holds
 * the round's model.
 */
export const compare: Compare = async (report) => {
  const folder = await mkdtemp(join(tmpdir(), "fedflat-bench-"));
  const model = largeModel();
  const settings = {
    rounds: 2,
    minimum: 1,
    overSelection: 1,
    evaluateFraction: 0,
  };
  try {
    const life = async (resume: boolean): Promise<number> => {
      const start = performance.now();
      const aggregator = await Aggregator.open({ model, folder, resume, settings });
      const server = await listen(aggregator, { port: 0 });
      let began!: () => void;
      const training = new Promise<void>((resolve) => (began = resolve));
      const never = (): never => {
        throw new Error("not measured");
      };
      const trainer: Trainer = {
        train() {
          began();
          return new Promise((_, reject) => setTimeout(reject, 1000));
        },
        evaluate: never,
        hessianProduct: never,
        predict: never,
        close() {},
      };
      const client = new FederatedClient(
        {
          url: server.url,
          state: "",
          data: { x: new Float32Array(2 * WIDTH), y: [0, 1] },
          holdOut: 0,
          trainer,
        },
        {
          ...nodePlatform({ identity: labIdentity("bench", 0) }),
          openState: async () => memoryStore(),
        },
      );
      const running = client.run();
      await training;
      const seconds = (performance.now() - start) / 1000;
      await aggregator.stop();
      await client.stop({ force: true });
      await running;
      await server.close();
      return seconds;
    };
    await life(false);
    const seconds = await life(true);
    report({
      name: "restart in a round with a model of 100 MB, until a client has it",
      value: seconds,
      unit: "s",
      target: `< ${SECONDS} s`,
      met: seconds < SECONDS,
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
};
