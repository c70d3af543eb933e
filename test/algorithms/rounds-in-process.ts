import type { Algorithm, NamedNumbers, State } from "../../runtime/algorithms/algorithm.js";
import type { Part } from "../../runtime/data/dataset.js";
import { finishRound } from "../../runtime/algorithms/finish-round.js";
import { initialWeights } from "../../runtime/models/initial.js";
import { parseDescription } from "../../runtime/models/description.js";
import { networkOf } from "../../runtime/models/network.js";
import type { Vector } from "../../runtime/tensors/layout.js";
import { random } from "../../runtime/tensors/random.js";
import type { Trainer } from "../../runtime/training/job.js";
import type { RoundSettings } from "../../runtime/training/local-round.js";
import { trainRound } from "../../runtime/training/train-round.js";
import { addToFold, emptyFold } from "../../aggregator/aggregation/exact-sum.js";
import {
  contributionOf,
  domainOf,
  foldFor,
  stateGrid,
} from "../../aggregator/aggregation/weighted-mean.js";

/** A network small enough that a round takes milliseconds. */
export const description = parseDescription({
  input: [6],
  layers: [
    { type: "dense", units: 5, activation: "relu" },
    { type: "dense", units: 3 },
  ],
});
export const network = networkOf(description);

/** Clients with noise for data, of the sizes given. */
export function clientsOf(sizes: readonly number[], seed = 1): Part[] {
  const chance = random(seed, "clients");
  return sizes.map((size) => ({
    dataset: {
      shape: [6],
      inputs: new Float32Array(size * 6).map(() => chance.normal()),
      labels: new Int32Array(size).map(() => chance.integer(3)),
      classes: ["a", "b", "c"],
    },
    rows: Uint32Array.from({ length: size }, (_, i) => i),
  }));
}

export const settings: RoundSettings = {
  algorithm: "",
  algorithmSettings: {},
  localEpochs: 2,
  batchSize: 4,
  learningRate: 0.1,
  initialLearningRate: 0.1,
  weightDecay: 1e-3,
  clipNorm: 10,
  zeta: 0.2,
  manIncludesLogits: false,
  shuffle: true,
  meanSamples: 0,
  seed: "",
};

/** A run: what the server holds and what each client holds. */
export interface Run {
  readonly global: Vector;
  readonly state: State;
  readonly clients: readonly State[];
  /** Of the last round, by client. */
  readonly deltas: Readonly<Record<number, Vector>>;
}

export function begin({ server }: Algorithm, numbers: NamedNumbers, clients: number): Run {
  return {
    global: initialWeights(network, "7"),
    state: Object.fromEntries(
      Object.entries(server.state).map(([name, start]) => [
        name,
        new Float64Array(network.layout.size).fill(start(numbers)),
      ]),
    ),
    clients: Array.from({ length: clients }, () => ({})),
    deltas: {},
  };
}

/** What the fold of a round holds. */
const MAX_ABS = 1024;

export interface Given extends Partial<RoundSettings> {
  readonly round?: number;
  /**
   * How many were selected, those of whom nothing came included; the participants where not given.
   */
  readonly selected?: number;
  /** Those of the participants whose update came too late. */
  readonly late?: readonly number[];
}

/** One round with these participants, whose updates arrive in this order. */
export async function playRound(
  trainer: Trainer,
  algorithm: Algorithm,
  run: Run,
  parts: readonly Part[],
  participants: readonly number[],
  given: Given = {},
): Promise<Run> {
  const { server } = algorithm;
  const numbers = { ...algorithm.defaults, ...given.algorithmSettings };
  const meanSamples = parts.reduce((sum, { rows }) => sum + rows.length, 0) / parts.length;
  const received = Object.fromEntries(
    Object.entries(server.broadcast?.(run.state, parts.length) ?? {}).map(([name, values]) => [
      name,
      Float32Array.from(values),
    ]),
  );
  const { round = 0, late = [], selected = Math.max(1, participants.length), ...changed } = given;
  const fold = emptyFold(
    domainOf(server, {
      size: network.layout.size,
      updates: selected,
      samples: 1000,
      maxAbs: MAX_ABS,
    }),
  );
  // A client that has joined since has no state yet.
  const clients = parts.map((_, k) => run.clients[k] ?? {});
  const deltas: Record<number, Vector> = {};
  for (const k of participants) {
    const result = await trainRound(trainer, {
      description,
      weights: run.global,
      algorithm,
      part: parts[k],
      state: clients[k],
      received,
      settings: {
        ...settings,
        grid: algorithm.client.nextState && stateGrid(selected, MAX_ABS),
        ...changed,
        algorithmSettings: numbers,
        meanSamples,
        seed: `${round}/${k}`,
      },
    });
    if (late.includes(k)) continue;
    clients[k] = result.state;
    deltas[k] = result.delta;
    addToFold(fold, `client ${k}`, "", contributionOf(server, result.update, parts[k].rows.length));
  }
  const finished = finishRound(server, {
    global: run.global,
    fold: foldFor(fold),
    state: run.state,
    settings: numbers,
    population: parts.length,
  });
  return { ...finished, clients, deltas };
}
