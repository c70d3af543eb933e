import { assignmentId } from "../clients/assignments.js";
import { capOf, rosterOf, type Assignment } from "../clients/clients.js";
import { pick, trainSettings } from "../../runtime/protocol/settings.js";
import { collectAll } from "../memory.js";
import type { RunContext, RunBase, RunStorage } from "./context.js";
import type { Attempt } from "../rounds/engine.js";
import type { Work } from "../rounds/participants.js";
import type { AttemptRecord } from "../storage/ledger.js";
import type { AggregatorSettings } from "../settings.js";
import { kindOf } from "./secure.js";
import type { Leaf } from "./leaf/leaf.js";

/**
 * Attempts at rounds as the coordinator makes them: written down and opened, their rows asked for,
 * sealed, called off. The leaf hears of each step.
 */
export interface Attempts {
  /** When the last one was opened, in the time of `performance.now()`. */
  readonly openedAt: number;
  /** Writes an attempt down and opens it: `begun`. */
  begin(open: Attempt): Promise<void>;
  /** Opens the one that a restart found open; listeners hear of it in the next turn. */
  reopen(attempt: AttemptRecord): Promise<void>;
  /** Asks a client for this work. `lease` is in milliseconds; without it it is due with the round. */
  assign(client: string, work: Work, lease: number | undefined): void;
  /** The client's update will not be counted. */
  late(client: string, work: Work, code: "late" | "stale"): void;
  /** Counts no further update where so many are counted: `gathered`, or `short`. */
  seal(open: Attempt, least: number): Promise<void>;
  /** The attempt that was opened last. */
  latest(): AttemptRecord;
  /** Calls an attempt off. Returns the assignments that end with it. */
  abandon(open: Attempt, reason: string): readonly Assignment[];
}

export function openAttempts(
  context: RunBase & RunStorage & Pick<RunContext, "clients" | "clientOf">,
  options: {
    /** From which the ids of assignments are made. */
    readonly key: string;
    readonly idOf: (client: string, work: Work) => string;
    /** The last attempt that was begun before a restart. */
    readonly latest: AttemptRecord | undefined;
    readonly leaf: Leaf;
  },
): Attempts {
  const { definition, log, rounds, send, tell, store, withRetry } = context;
  const { key, idOf, leaf } = options;
  const { settings, combining } = definition;
  let { latest } = options;
  let openedAt = 0;

  const askedOf = (client: string, work: Work, lease?: number) => ({
    ...{ id: idOf(client, work), client, work, lease },
  });

  async function open(record: AttemptRecord): Promise<void> {
    // The first time: copies of a large model, made on the way here.
    if (openedAt === 0 && definition.isLarge) collectAll();
    latest = record;
    openedAt = performance.now();
    const { round, attempt, selected } = record;
    // Before the store lets anything be claimed for it.
    await leaf.opening(record);
    await store.begin(
      record,
      { goal: Math.max(record.goal, combining.least), staleness: rounds.maxStaleness },
      selected.map((client) => askedOf(client, { round, attempt })),
    );
    log.info({ round, attempt, selected: selected.length }, "a round opens");
  }

  const tellOpened = ({ round, attempt, selected, goal }: AttemptRecord): void =>
    tell("opened", { round, attempt, selected, goal });

  return {
    latest: () => latest!,

    async reopen(attempt) {
      await open(attempt);
      setImmediate(() => tellOpened(attempt));
    },

    get openedAt() {
      return openedAt;
    },

    async begin(wanted) {
      const attempt = { ...wanted, ...samplesOf(context, wanted), key, mode: kindOf(settings) };
      await withRetry(async () => {
        await open(attempt);
        tellOpened(attempt);
        await leaf.claimAgain();
        send({ type: "begun" });
      });
    },

    assign(client, work, lease) {
      void store.ask([askedOf(client, work, lease)]);
      leaf.give(client, work, lease);
      void leaf.claimAgain(client);
    },

    late(client, work, code) {
      void store.end([{ client, work }], code);
      leaf.late(client, work, code);
    },

    seal: (attempt, least) =>
      withRetry(async () => {
        if (!(await store.seal(attempt, least))) return send({ type: "short" });
        await leaf.ship();
        send({ type: "gathered" });
      }),

    abandon({ round, attempt }, reason) {
      log.warn({ round, attempt }, `the attempt is abandoned: ${reason}`);
      const told = () => tell("abandoned", { round, attempt, reason });
      // An attempt from an earlier life: nobody listens yet.
      if (openedAt === 0) setImmediate(told);
      else told();
      const ended = leaf.abandoned({ round, attempt });
      void withRetry(() => store.abandon({ round, attempt }));
      return ended;
    },
  };
}

/** What the ids of a run's assignments are made by. */
export function assignmentIds(
  settings: AggregatorSettings,
  key: string,
): (client: string, work: Work) => string {
  const terms = termsOf(settings);
  return (client, work) => assignmentId(key, work, client, terms);
}

/** Everything in the settings that says how an update is made and how its bytes are read. */
function termsOf(all: AggregatorSettings): string {
  const { codec, codecSettings, maxAbs, secure, secureRange, ...settings } = all;
  const masked = secure ? [secureRange] : [];
  return JSON.stringify([codec, codecSettings, maxAbs, pick(settings, trainSettings), ...masked]);
}

/**
 * What an attempt freezes of how much data its clients have. In a private run nothing that is sent
 * to them may depend on it.
 */
const samplesOf = (
  context: Parameters<typeof mostSamples>[0],
  { selected, meanSamples }: Attempt,
): Pick<AttemptRecord, "meanSamples" | "maxSamples"> => ({
  meanSamples: context.definition.privacy === undefined ? meanSamples : 1,
  maxSamples: mostSamples(context, selected),
});

/**
 * The most samples that an update of an attempt may claim: room for data that grew since a client
 * said how many it has, and no more, because it decides how fine the grid of the fold is.
 */
function mostSamples(
  { definition, clients, clientOf }: Pick<RunContext, "definition" | "clients" | "clientOf">,
  selected: readonly string[],
): number {
  const { settings } = definition;
  const cap = capOf(clients.values(), settings);
  // Where nobody is selected, an update may come from any client.
  const asked = selected.length === 0 ? rosterOf(clients.values(), settings).ids : selected;
  const counts = asked.map((id) => clientOf(id).samples);
  const known = counts.filter((count) => count !== null);
  return known.length < counts.length || known.length === 0
    ? cap
    : Math.min(cap, 2 ** Math.ceil(Math.log2(2 * Math.max(1, ...known))));
}
