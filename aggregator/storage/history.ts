import * as v from "valibot";
import type {
  AttemptRecord,
  Charge,
  CommitRecord,
  CountedUpdate,
  RegisteredClient,
  StatisticsRecord,
  ThresholdRecord,
} from "./ledger.js";

const whole = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const numbers = v.pipe(v.array(v.number()), v.readonly());
const counted = v.object({
  client: v.string(),
  round: whole,
  assignment: v.string(),
  sha256: v.string(),
});

/** What a ledger's journal is a list of. */
export const LedgerRecord = v.variant("type", [
  v.object({ type: v.literal("run"), run: v.string() }),
  v.object({ type: v.literal("epoch"), epoch: whole }),
  v.object({
    type: v.literal("client"),
    client: v.object({ id: v.string(), samples: v.nullable(whole) }),
  }),
  v.object({
    type: v.literal("statistics"),
    statistics: v.object({
      count: whole,
      mean: numbers,
      deviation: numbers,
      targets: v.exactOptional(v.object({ mean: numbers, deviation: numbers })),
      scale: v.number(),
      members: v.pipe(v.array(v.string()), v.readonly()),
      held: v.pipe(
        v.array(v.object({ client: v.string(), channels: v.pipe(v.array(whole), v.readonly()) })),
        v.readonly(),
      ),
    }),
  }),
  v.object({
    type: v.literal("threshold"),
    threshold: v.object({
      round: whole,
      quantile: v.number(),
      value: v.number(),
      members: v.pipe(v.array(v.string()), v.readonly()),
      leftOut: v.pipe(v.array(v.string()), v.readonly()),
    }),
  }),
  v.object({
    type: v.literal("attempt"),
    attempt: v.object({
      round: whole,
      attempt: whole,
      selected: v.pipe(v.array(v.string()), v.readonly()),
      goal: whole,
      population: whole,
      meanSamples: v.number(),
      maxSamples: whole,
      key: v.string(),
      mode: v.string(),
    }),
  }),
  v.object({
    type: v.literal("charge"),
    charge: v.object({ round: whole, attempt: whole, noise: v.number(), sampling: v.number() }),
  }),
  v.object({ type: v.literal("abandoned"), round: whole, attempt: whole }),
  v.object({
    type: v.literal("commit"),
    commit: v.object({
      round: whole,
      attempt: whole,
      model: v.string(),
      state: v.string(),
      members: v.pipe(v.array(counted), v.readonly()),
      line: v.record(v.string(), v.unknown()),
    }),
  }),
]);
export type LedgerRecord = v.InferOutput<typeof LedgerRecord>;

/** What the records say when they are read in order; every ledger keeps one. */
export interface History {
  run: string;
  epoch: number;
  statistics: StatisticsRecord | undefined;
  threshold: ThresholdRecord | undefined;
  attempt: AttemptRecord | undefined;
  latest: AttemptRecord | undefined;
  readonly charges: Charge[];
  readonly clients: Map<string, RegisteredClient>;
  readonly commits: CommitRecord[];
  readonly counted: Map<string, CountedUpdate>;
}

export const emptyHistory = (): History => ({
  run: "",
  epoch: 0,
  statistics: undefined,
  threshold: undefined,
  attempt: undefined,
  latest: undefined,
  charges: [],
  clients: new Map(),
  commits: [],
  counted: new Map(),
});

/** Takes one more record into the history, in place. */
export function remember(history: History, record: LedgerRecord): void {
  switch (record.type) {
    case "run":
      history.run = record.run;
      return;
    case "epoch":
      history.epoch = record.epoch;
      return;
    case "client":
      history.clients.set(record.client.id, record.client);
      return;
    case "statistics":
      history.statistics = record.statistics;
      return;
    case "threshold":
      history.threshold = record.threshold;
      return;
    case "attempt":
      history.attempt = history.latest = record.attempt;
      return;
    case "charge":
      history.charges.push(record.charge);
      return;
    case "abandoned":
      if (history.attempt?.round === record.round && history.attempt.attempt === record.attempt)
        history.attempt = undefined;
      return;
    case "commit":
      history.attempt = undefined;
      history.commits.push(record.commit);
      for (const member of record.commit.members) history.counted.set(member.client, member);
  }
}
