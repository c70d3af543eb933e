import assert from "node:assert/strict";
import { Aggregator, type RoundRecord } from "../../../aggregator/run/aggregator.js";
import type { AggregatorOptions } from "../../../aggregator/run/options.js";
import { listen } from "../../../aggregator/server/server.js";
import type { GivenSettings } from "../../../aggregator/settings.js";
import { FederatedClient, type Outcome } from "../../../runtime/client.js";
import { memoryStore } from "../../../runtime/platform/memory-store.js";
import { clientId, labIdentity } from "../../../runtime/platform/node-identity.js";
import { nodePlatform } from "../../../runtime/platform/node.js";
import type { Socket } from "../../../runtime/platform/platform.js";
import { quantised } from "../../../runtime/secure/quantise.js";
import { readTerms } from "../../../runtime/secure/terms.js";
import type { Trainer } from "../../../runtime/training/job.js";
import { loadModel } from "../../../runtime/models/model.js";
import { tinyModel } from "./federation.js";
import type { Message } from "./raw-client.js";

// Real clients over real sockets, whose updates are known: what a trainer would find is given, and
// the chance by which it is rounded is 0. What travels can be looked at, changed and cut off.

const fromSystem = crypto.getRandomValues.bind(crypto);
Object.defineProperty(crypto, "getRandomValues", {
  value: (into: Uint8Array | Uint32Array) =>
    into instanceof Uint32Array ? into.fill(0) : fromSystem(into),
});

/** What becomes of a message on its way: another in its place, none, or the line's end. */
export type Fate = Message | undefined | "cut";
type Hook = (message: Message, client: SecureClient) => Fate;

export interface SecureClient {
  readonly index: number;
  readonly id: string;
  readonly delta: Float32Array;
  readonly samples: number;
  /** What it sent, in order: messages, and binary frames. */
  readonly sent: (Message | Uint8Array)[];
  /** Starts it, again too: with the same store and nothing in memory. */
  start(): void;
  /** Ends it as a power cut does: nothing more is sent. */
  kill(): Promise<void>;
}

export interface SecureFleet {
  readonly aggregator: Aggregator;
  readonly clients: readonly SecureClient[];
  readonly rounds: RoundRecord[];
  /** Sentences of abandoned attempts. */
  readonly abandoned: string[];
  /** What the model of a round has to be, of the model before and those who took part. */
  expected(before: Float32Array, record: RoundRecord): Float32Array;
  /** Every committed model is, to the bit, the one before moved by the plain sum. */
  requireSums(): void;
  /** Ends the aggregator and starts it again, from its folder. */
  restart(): Promise<void>;
  end(): Promise<void>;
}

export const SECURE: GivenSettings = {
  secure: true,
  rounds: 2,
  overSelection: 1,
  quorum: 0.6,
  evaluateFraction: 0,
  normalise: "none",
  deadline: 20_000,
  secureDeadline: 20_000,
  pause: 50,
  absence: 300,
  stall: 200,
};

const PARAMETERS = tinyModel().layout.size;

export async function secureFleet(
  count: number,
  settings: GivenSettings = {},
  hooks: { readonly outgoing?: Hook; readonly incoming?: Hook } = {},
  options: Partial<AggregatorOptions> & { readonly secureOnly?: number } = {},
): Promise<SecureFleet> {
  const rounds: RoundRecord[] = [];
  const abandoned: string[] = [];
  const models: Float32Array[] = [];
  const terms = new Map<string, ReturnType<typeof readTerms>>();
  const { secureOnly: demanded, ...given } = options;
  const open = async (resume: boolean, port: number) => {
    const aggregator = await Aggregator.open({
      model: tinyModel(),
      ...given,
      resume,
      settings: { ...SECURE, gather: count, minimum: Math.max(4, count - 3), ...settings },
    });
    aggregator.on("round", (record) => {
      rounds.push(record);
      models.push(loadModel(aggregator.model.bytes).weights as Float32Array);
    });
    aggregator.on("abandoned", ({ reason }) => abandoned.push(reason));
    return { aggregator, server: await listen(aggregator, { port }) };
  };
  let life = await open(false, 0);
  const { url } = life.server;
  const clients = Array.from({ length: count }, (_, index) =>
    secureClient(index, url, hooks, terms, demanded),
  );
  for (const client of clients) client.start();
  const fleet: SecureFleet = {
    get aggregator() {
      return life.aggregator;
    },
    ...{ clients, rounds, abandoned },
    expected(before, { round, attempt, participants }) {
      const quantiser = terms.get(`${round}/${attempt}`)!;
      const sum = new Float64Array(PARAMETERS);
      let weights = 0;
      for (const id of participants) {
        const { delta, samples } = clients.find((client) => client.id === id)!;
        const weight = Math.min(samples, quantiser.maxWeight);
        const steps = quantised(delta, weight, quantiser, new Uint32Array(PARAMETERS));
        steps.forEach((step, i) => (sum[i] += step));
        weights += weight;
      }
      const { range, steps, maxWeight } = quantiser;
      const scale = 1 / weights;
      return before.map((w, i) => w + sum[i] * (range / steps) * maxWeight * scale);
    },
    requireSums() {
      let before = tinyModel().weights as Float32Array;
      rounds.forEach((record, i) => {
        assert.deepEqual(models[i], fleet.expected(before, record), `round ${record.round}`);
        before = models[i];
      });
    },
    async restart() {
      const port = Number(new URL(url).port);
      await life.aggregator.stop();
      await life.server.close();
      life = await open(true, port);
    },
    async end() {
      await Promise.all(clients.map((client) => client.kill()));
      await life.aggregator.stop();
      await life.server.close();
    },
  };
  return fleet;
}

function secureClient(
  index: number,
  url: string,
  hooks: { readonly outgoing?: Hook; readonly incoming?: Hook },
  terms: Map<string, ReturnType<typeof readTerms>>,
  demanded: number | undefined,
): SecureClient {
  const identity = labIdentity("secure fleet", index);
  const samples = 5 + index;
  const delta = Float32Array.from({ length: PARAMETERS }, (_, i) => Math.sin(1 + index * 31 + i));
  const store = memoryStore();
  let life: { client: FederatedClient; ended: Promise<Outcome>; sockets: Set<Socket> } | undefined;
  const trainer: Trainer = {
    train: async () => ({
      delta: delta.slice(),
      metrics: {
        ...{ lossBefore: 2, lossAfter: 1, activationNorms: [], seconds: 0 },
        samples,
      },
    }),
    evaluate: () => Promise.reject(new Error("not asked")),
    hessianProduct: () => Promise.reject(new Error("not asked")),
    predict: () => Promise.reject(new Error("not asked")),
    close: () => {},
  };
  const self: SecureClient = {
    ...{ index, id: clientId(identity), delta, samples },
    sent: [],
    start() {
      const node = nodePlatform({ identity });
      const sockets = new Set<Socket>();
      const platform = {
        ...node,
        openState: async () => store,
        openSocket: (...given: Parameters<typeof node.openSocket>) => {
          const socket = watched(node.openSocket(...given), self, hooks, terms);
          sockets.add(socket);
          return socket;
        },
      };
      const data = {
        x: new Float32Array(4 * samples),
        y: Array.from({ length: samples }, () => 0),
      };
      const client = new FederatedClient(
        { url, state: "", data, trainer, holdOut: 0, secureOnly: demanded },
        platform,
      );
      life = { client, ended: client.run(), sockets };
    },
    async kill() {
      const before = life;
      life = undefined;
      if (before === undefined) return;
      for (const socket of before.sockets) {
        socket.send = () => {};
        socket.close();
      }
      await before.client.stop({ force: true });
      await before.ended;
    },
  };
  return self;
}

/** A socket whose messages go by the hooks. */
function watched(
  socket: Socket,
  client: SecureClient,
  { outgoing, incoming }: { readonly outgoing?: Hook; readonly incoming?: Hook },
  terms: Map<string, ReturnType<typeof readTerms>>,
): Socket {
  const inner: Socket = {
    copies: false,
    get bufferedAmount() {
      return socket.bufferedAmount;
    },
    send(data) {
      if (typeof data !== "string") {
        client.sent.push(data.slice());
        return socket.send(data);
      }
      const message = JSON.parse(data) as Message;
      const fate = outgoing === undefined ? message : outgoing(message, client);
      if (fate === "cut") return socket.close();
      if (fate === undefined) return;
      client.sent.push(fate);
      socket.send(JSON.stringify(fate));
    },
    close: (code, reason) => socket.close(code, reason),
  };
  socket.onOpen = () => inner.onOpen?.();
  socket.onClose = (code, reason) => inner.onClose?.(code, reason);
  socket.onMessage = (data) => {
    if (typeof data !== "string") return inner.onMessage?.(data);
    const message = JSON.parse(data) as Message;
    if (message.type === "assign" && typeof message["settings"].secure === "string")
      terms.set(
        `${message["round"]}/${message["attempt"]}`,
        readTerms(message["settings"].secure as string),
      );
    const fate = incoming === undefined ? message : incoming(message, client);
    if (fate === "cut") return socket.close();
    if (fate !== undefined) inner.onMessage?.(JSON.stringify(fate));
  };
  return inner;
}
