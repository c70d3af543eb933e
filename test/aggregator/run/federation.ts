import { Writable } from "node:stream";
import { pino } from "pino";
import { Aggregator, type AggregatorOptions } from "../../../aggregator/run/aggregator.js";
import { listen, type ServerOptions } from "../../../aggregator/server/server.js";
import type { GivenSettings } from "../../../aggregator/settings.js";
import { openMetrics } from "../../../cli/metrics.js";
import { layoutOf } from "../../../runtime/tensors/layout.js";
import type { Model } from "../../../runtime/models/model.js";
import { RawClient, type RawOptions } from "./raw-client.js";

/** A model of one dense layer, 4 inputs and 3 classes, or `units` classes. */
export function tinyModel(units = 3): Model {
  const layout = layoutOf([
    { name: "0.kernel", shape: [4, units] },
    { name: "0.bias", shape: [units] },
  ]);
  return {
    description: { input: [4], layers: [{ type: "dense", units }] },
    layout,
    weights: Float32Array.from({ length: layout.size }, (_, i) => i / 8),
    classes: Array.from({ length: units }, (_, i) => `class ${i}`),
  };
}

/** A model with one activation that MAN counts: 4 inputs, 2 hidden units and 3 classes. */
export function tappedModel(): Model {
  const layout = layoutOf([
    { name: "0.kernel", shape: [4, 2] },
    { name: "0.bias", shape: [2] },
    { name: "1.kernel", shape: [2, 3] },
    { name: "1.bias", shape: [3] },
  ]);
  return {
    ...tinyModel(),
    description: {
      input: [4],
      layers: [
        { type: "dense", units: 2, activation: "relu" },
        { type: "dense", units: 3 },
      ],
    },
    layout,
    weights: Float32Array.from({ length: layout.size }, (_, i) => i / 8),
  };
}

/** Times that a test can wait for. */
const QUICK: GivenSettings = {
  rounds: 2,
  minimum: 1,
  overSelection: 1,
  evaluateFraction: 0,
  normalise: "none",
  deadline: 20_000,
  pause: 50,
  absence: 300,
  stall: 200,
};

export interface Federation {
  readonly aggregator: Aggregator;
  readonly url: string;
  readonly healthPort: number | undefined;
  /** Every line of the log, parsed. */
  readonly log: Record<string, unknown>[];
  /** A client that has joined. */
  client(seed: string, options?: Partial<RawOptions>): Promise<RawClient>;
  /** A client that has only connected. */
  stranger(seed: string, options?: Partial<RawOptions>): RawClient;
  end(): Promise<void>;
}

/** A real aggregator on a real port, with clients that are closed at its end. */
export async function federation(
  settings: GivenSettings = {},
  options: Partial<AggregatorOptions> = {},
  server: Partial<ServerOptions> = {},
): Promise<Federation> {
  const log: Record<string, unknown>[] = [];
  const logger = pino(
    { level: "info" },
    new Writable({
      write(chunk: Buffer, _encoding, done) {
        for (const line of chunk.toString().split("\n"))
          if (line !== "") log.push(JSON.parse(line));
        done();
      },
    }),
  );
  const aggregator = await Aggregator.open({
    model: tinyModel(),
    log: logger,
    ...options,
    settings: { ...QUICK, ...settings },
  });
  const listening = await listen(aggregator, {
    port: 0,
    metrics: openMetrics(aggregator),
    ...server,
  });
  const clients: RawClient[] = [];
  const { url } = listening;
  const stranger: Federation["stranger"] = (seed, more) => {
    const client = new RawClient({ url, seed, ...more });
    clients.push(client);
    return client;
  };
  return {
    aggregator,
    url,
    healthPort: listening.healthPort,
    log,
    stranger,
    async client(seed, more) {
      const client = stranger(seed, more);
      await client.join();
      return client;
    },
    async end() {
      for (const client of clients) client.cut();
      await aggregator.stop();
      await listening.close();
    },
  };
}

/** The line of the log whose sentence matches. */
export const logged = (
  { log }: Federation,
  sentence: RegExp,
): Record<string, unknown> | undefined => log.find(({ msg }) => sentence.test(String(msg)));
