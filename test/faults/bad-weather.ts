import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Aggregator } from "../../aggregator/run/aggregator.js";
import type { GivenSettings } from "../../aggregator/settings.js";
import { FederatedClient } from "../../runtime/client.js";
import { random } from "../../runtime/tensors/random.js";
import { memoryLine } from "../../runtime/platform/memory-line.js";
import { memoryStore } from "../../runtime/platform/memory-store.js";
import { labIdentity } from "../../runtime/platform/node-identity.js";
import { nodePlatform } from "../../runtime/platform/node.js";
import type { Trainer } from "../../runtime/training/job.js";
import { trainerHere } from "../training/engines.js";
import { freePort, liveUntilDeath } from "./kills.js";
import { accuracyOf, learningData, learningModel } from "./learning.js";
import { faultProxy, type Weather } from "./proxy.js";
import { slowly } from "../until.js";

const CLIENTS = 10;
/** Chance that a client drops out of a round that it was selected for. */
const DROP_OUT = 0.3;

export interface BadWeather {
  readonly rounds: number;
  /** Milliseconds. */
  readonly deadline: number;
  readonly weather: Weather;
  /** The server is killed at its persistence call of this number. */
  readonly kill: number;
}

/** What came of it. */
export interface Weathered {
  readonly accuracy: number;
  readonly cleanAccuracy: number;
  /** Seconds of the longest round, from its opening to its commit. */
  readonly longestRound: number;
  /** Updates in a round, on average; ten were asked for. */
  readonly counted: number;
  readonly dropOuts: number;
  readonly resets: number;
}

const settingsOf = ({ rounds, deadline }: BadWeather): GivenSettings => ({
  algorithm: "fedavg",
  rounds,
  deadline,
  gather: CLIENTS,
  minimum: 3,
  quorum: 0.4,
  absence: 500,
  pause: 100,
  heartbeat: 1000,
  localEpochs: 2,
  batchSize: 10,
  learningRate: 0.2,
  // So that the end shows what was learned, and not who happened to be in the last round.
  learningRateDecay: 0.95,
  zeta: 0,
});

/**
 * Ten real clients behind a bad network, three in ten of them lost to each round, and a server that
 * is killed once.
 */
export async function weather(given: BadWeather): Promise<Weathered> {
  const trainer = await trainerHere("simd");
  const cleanAccuracy = await accuracyOf(await cleanRun(given, trainer), trainer);
  const folder = await mkdtemp(join(tmpdir(), "fedflat-weather-"));
  const port = await freePort();
  const proxy = await faultProxy(port, given.weather);
  const chance = random("drop-outs");
  let dropOuts = 0;
  let over = false;

  async function live(index: number): Promise<void> {
    const store = memoryStore();
    while (!over) {
      const client = clientOf(index, `ws://127.0.0.1:${proxy.port}`, trainer, {
        openState: async () => store,
      });
      client.on("assignment", ({ what }) => {
        if (what !== "accepted" || chance.next() >= DROP_OUT) return;
        dropOuts++;
        void client.stop({ force: true });
      });
      running.add(client);
      const { reason } = await client.run();
      running.delete(client);
      if (reason !== "stopped") return;
      await slowly(200);
    }
  }
  const running = new Set<FederatedClient>();
  try {
    const clients = Array.from({ length: CLIENTS }, (_, i) => live(i));
    const server = (call: number) =>
      liveUntilDeath(
        [
          ...[folder, port, call, "learning", JSON.stringify(settingsOf(given))],
          `127.0.0.1:${proxy.port}`,
        ],
        async () => {},
      );
    assert.equal(await server(given.kill), "SIGKILL");
    proxy.stopTheWorld(300);
    assert.equal(await server(0), 0, "the run ends well after the kill");
    over = true;
    await Promise.all([...running].map((client) => client.stop({ force: true })));
    await Promise.all(clients);
    const seconds = (await linesOf<{ seconds: number }>(folder, "timings.jsonl")).map(
      (line) => line.seconds,
    );
    const members = (await linesOf<{ participants: unknown[] }>(folder, "rounds.jsonl")).map(
      ({ participants }) => participants.length,
    );
    const model = await readFile(join(folder, "model/weights.safetensors"));
    return {
      accuracy: await accuracyOf(model, trainer),
      cleanAccuracy,
      longestRound: Math.max(...seconds),
      counted: members.reduce((a, b) => a + b, 0) / members.length,
      dropOuts,
      resets: proxy.resets,
    };
  } finally {
    over = true;
    for (const client of running) await client.stop({ force: true });
    await proxy.close();
    await rm(folder, { recursive: true, force: true });
  }
}

async function linesOf<T>(folder: string, file: string): Promise<T[]> {
  const text = await readFile(join(folder, file), "utf8");
  return text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as T);
}

function clientOf(
  index: number,
  url: string,
  trainer: Trainer,
  platform: Partial<ReturnType<typeof nodePlatform>>,
): FederatedClient {
  return new FederatedClient(
    {
      url,
      state: "",
      data: learningData(index, 40),
      holdOut: 0,
      trainer: { ...trainer, close() {} },
    },
    {
      ...nodePlatform({ identity: labIdentity("weather", index) }),
      ...platform,
    },
  );
}

/** The model of the run in which nothing goes wrong. */
async function cleanRun(given: BadWeather, trainer: Trainer): Promise<Uint8Array> {
  const aggregator = await Aggregator.open({
    model: learningModel(),
    settings: {
      ...settingsOf(given),
      overSelection: 1,
      evaluateFraction: 0,
      deadline: 60_000,
      quorum: 1,
    },
  });
  await Promise.all(
    Array.from({ length: CLIENTS }, (_, i) =>
      clientOf(i, "ws://clean", trainer, {
        openState: async () => memoryStore(),
        openSocket() {
          const [here, there] = memoryLine();
          queueMicrotask(() => aggregator.attach(there, { host: "clean", address: "memory" }));
          return here;
        },
      }).run(),
    ),
  );
  const { model } = await aggregator.done;
  await aggregator.stop();
  return model;
}
