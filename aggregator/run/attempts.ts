import { sha256Hex } from "../../runtime/platform/node-sha256.js";
import { assignmentId, modelFor } from "../clients/assignments.js";
import {
  capOf,
  newAssignment,
  rosterOf,
  type Assignment,
  type Client,
} from "../clients/clients.js";
import { pick, trainSettings, type TrainSettings } from "../../runtime/protocol/settings.js";
import { collectAll } from "../memory.js";
import type { RunDefinition } from "./definition.js";
import type { RunContext, RunBase, RunStorage } from "./context.js";
import { learningRateOf } from "./round-record.js";
import { mostUpdates, type Attempt } from "../rounds/engine.js";
import type { Work } from "../rounds/participants.js";
import type { AttemptRecord } from "../storage/ledger.js";
import type { AggregatorSettings } from "../settings.js";
import { stateGrid } from "../aggregation/weighted-mean.js";
import { kindOf, termsText } from "./secure.js";
import type { Folds } from "./folds.js";
import type { Updates } from "./updates.js";

/** Attempts at rounds: written down, opened, given to clients as assignments, called off. */
export interface Attempts {
  /** When the last one was opened, in the time of `performance.now()`. */
  readonly openedAt: number;
  /** Writes an attempt down and opens it: `begun`. */
  begin(open: Attempt): Promise<void>;
  /** Counts no further update where so many are counted: `gathered`, or `short`. */
  seal(open: Attempt, least: number): Promise<void>;
  /** Opens the one that a restart found open; listeners hear of it in the next turn. */
  reopen(attempt: AttemptRecord): Promise<void>;
  /** This client's assignment of that work. */
  given(client: string, work: Work): Assignment | undefined;
  /**
   * Gives a client this work, or lets it continue. `lease` is in milliseconds; without it the work
   * is due with the round.
   */
  assign(client: string, work: Work, lease: number | undefined): void;
  /** The attempt that was opened last, and its terms where it is secure. */
  latest(): AttemptRecord;
  secureTerms(): string;
  /** The client's update will not be counted. */
  late(client: string, work: Work, code: "late" | "stale"): void;
  /**
   * A client reports its unfinished work. What was given to it before a restart, and may still be
   * counted, is taken up again; what is older than its last counted update is not, for that is in a
   * round already.
   */
  takeUp(client: Client, pending: ReadonlySet<string>): void;
  /** Calls an attempt off. Returns the assignments that end with it. */
  abandon(open: Attempt, reason: string): readonly Assignment[];
}

export function openAttempts(
  context: RunBase &
    RunStorage &
    Pick<RunContext, "models" | "assignments" | "clients" | "clientOf">,
  options: {
    /** From which the ids of assignments are made. */
    readonly key: string;
    /** The last attempt that was begun before a restart. */
    readonly latest: AttemptRecord | undefined;
    readonly folds: Pick<Folds, "open" | "ship">;
    readonly updates: Pick<Updates, "claimAgain">;
    /** When the deadline of the rounds passes, in the time of `performance.now()`. */
    readonly due: () => number;
  },
): Attempts {
  const { definition, log, rounds, send, tell, ledger, store } = context;
  const { withRetry, models, assignments, clientOf } = context;
  const { folds, updates } = options;
  const { settings, combining } = definition;
  const terms = termsOf(settings);
  const idOf = (client: string, work: Work) => assignmentId(options.key, work, client, terms);
  let { latest } = options;
  let openedAt = 0;

  async function open(attempt: AttemptRecord): Promise<void> {
    // The first time: copies of a large model, made on the way here.
    if (openedAt === 0 && definition.isLarge) collectAll();
    latest = attempt;
    openedAt = performance.now();
    const { round, selected } = attempt;
    const terms = {
      goal: Math.max(attempt.goal, combining.least),
      staleness: rounds.maxStaleness,
    };
    const asked = selected.map((client) => askedOf(client, { round, attempt: attempt.attempt }));
    // Before the store lets anything be claimed for it.
    await folds.open(attempt);
    await store.begin(attempt, terms, asked);
    log.info({ round, attempt: attempt.attempt, selected: selected.length }, "a round opens");
  }

  const askedOf = (client: string, work: Work, lease?: number) => ({
    ...{ id: idOf(client, work), client, work, lease },
  });

  const tellOpened = ({ round, attempt, selected, goal }: AttemptRecord): void =>
    tell("opened", { round, attempt, selected, goal });

  const given = (client: string, work: Work): Assignment | undefined =>
    assignments.get(idOf(client, work));

  return {
    given,
    secureTerms: () => secureTermsOf(definition, latest!, models.current.sha256),
    latest: () => latest!,

    async reopen(attempt) {
      await open(attempt);
      setImmediate(() => tellOpened(attempt));
    },

    get openedAt() {
      return openedAt;
    },

    async begin(wanted) {
      const mode = kindOf(settings);
      const attempt = { ...wanted, ...samplesOf(context, wanted), key: options.key, mode };
      await withRetry(async () => {
        await open(attempt);
        tellOpened(attempt);
        await updates.claimAgain();
        send({ type: "begun" });
      });
    },

    seal: (attempt, least) =>
      withRetry(async () => {
        if (!(await store.seal(attempt, least))) return send({ type: "short" });
        await folds.ship();
        send({ type: "gathered" });
      }),

    assign(client, work, lease) {
      void store.ask([askedOf(client, work, lease)]);
      const before = given(client, work);
      const assignment =
        before === undefined || before.ended !== undefined
          ? newAssignment(
              idOf(client, work),
              client,
              "train",
              work,
              modelFor(models, clientOf(client)),
              settingsFor(definition, latest!, models.current.sha256, client, work),
            )
          : before;
      clearTimeout(assignment.lease);
      if (lease === undefined) assignment.due = options.due();
      else {
        assignment.due = performance.now() + lease;
        assignment.lease = setTimeout(() => send({ type: "expired", client, work }), lease);
      }
      assignments.give(assignment);
      void updates.claimAgain(client);
    },

    late(client, work, code) {
      void store.end([{ client, work }], code);
      const assignment = given(client, work);
      // The store answers the claim of one that is under way.
      if (assignment === undefined || assignment.claimed) return;
      assignments.end(assignment, code);
      tell("missed", { client, round: work.round, code });
    },

    takeUp(client, pending) {
      if (pending.size === 0) return;
      const last = ledger.lastCounted(client.id);
      for (const work of rounds.outstanding()) {
        const id = idOf(client.id, work);
        if (id === last?.assignment) return;
        if (!pending.has(id)) continue;
        const assignment =
          assignments.get(id) ?? newAssignment(id, client.id, "train", work, undefined);
        if (assignment.folded || assignment.ended !== undefined) continue;
        assignments.markCurrent(assignment);
        send({ type: "pending", client: client.id, work });
      }
    },

    abandon({ round, attempt }, reason) {
      log.warn({ round, attempt }, `the attempt is abandoned: ${reason}`);
      const told = () => tell("abandoned", { round, attempt, reason });
      // An attempt from an earlier life: nobody listens yet.
      if (openedAt === 0) setImmediate(told);
      else told();
      const ended = assignments.of({ round, attempt });
      for (const assignment of ended) assignments.end(assignment, "abandoned");
      void withRetry(() => store.abandon({ round, attempt }));
      return ended;
    },
  };
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

/** The terms of a secure attempt. @param model its SHA-256 */
const secureTermsOf = (definition: RunDefinition, attempt: AttemptRecord, model: string): string =>
  termsText(
    ...([definition.settings, definition.algorithm, attempt, model] as const),
    trainingOf(definition, attempt),
  );

/** What an assignment says of how to train. */
const settingsFor = (
  definition: RunDefinition,
  attempt: AttemptRecord,
  model: string,
  client: string,
  work: Work,
): Assignment["settings"] => ({
  ...(definition.settings.secure
    ? { secure: secureTermsOf(definition, attempt, model) }
    : trainingOf(definition, attempt)),
  seed: seedOf(definition.settings, client, work),
});

/** For every random choice of a client's round. */
const seedOf = ({ seed }: RunDefinition["settings"], client: string, work: Work): string =>
  sha256Hex([seed, work.round, work.attempt, client].join("\0"));

/** What assignments say of how to train, but for the seed: the same for all clients of an attempt. */
function trainingOf(
  { settings, algorithm }: RunDefinition,
  attempt: AttemptRecord,
): Omit<TrainSettings, "seed"> {
  const { round, population, meanSamples } = attempt;
  return {
    ...pick(settings, trainSettings),
    learningRate: learningRateOf(settings, round),
    initialLearningRate: settings.learningRate,
    population,
    meanSamples,
    grid: algorithm.client.nextState ? stateGrid(mostUpdates(attempt), settings.maxAbs) : undefined,
  };
}
