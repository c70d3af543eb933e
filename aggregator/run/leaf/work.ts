import { sha256Hex } from "../../../runtime/platform/node-sha256.js";
import { pick, trainSettings, type TrainSettings } from "../../../runtime/protocol/settings.js";
import { stateGrid } from "../../aggregation/weighted-mean.js";
import { modelFor } from "../../clients/assignments.js";
import { newAssignment, type Assignment, type Client } from "../../clients/clients.js";
import { mostUpdates } from "../../rounds/engine.js";
import type { Work } from "../../rounds/participants.js";
import type { AttemptRecord } from "../../storage/ledger.js";
import type { RunBase, RunContext, RunStorage } from "../context.js";
import type { RunDefinition } from "../definition.js";
import { learningRateOf } from "../round-record.js";
import { termsText } from "../secure.js";

/** The training that clients of a leaf are given, by the attempt that was opened last. */
export interface GivenWork {
  /** This client's assignment of that work. */
  given(client: string, work: Work): Assignment | undefined;
  /**
   * Gives a client this work, or lets it continue. `lease` is in milliseconds; without it the work
   * is due with the round.
   */
  give(client: string, work: Work, lease: number | undefined): void;
  /** The client's update will not be counted. */
  late(client: string, work: Work, code: "late" | "stale"): void;
  /**
   * A client reports its unfinished work. What was given to it before a restart, and may still be
   * counted, is taken up again; what is older than its last counted update is not, for that is in a
   * round already.
   */
  takeUp(client: Client, pending: ReadonlySet<string>): void;
  /** An attempt is called off. Returns the assignments that end with it. */
  abandoned(work: Work): readonly Assignment[];
  /** The terms of the attempt, where it is secure. */
  secureTerms(): string;
}

export function openWork(
  context: RunBase &
    Pick<RunStorage, "ledger"> &
    Pick<RunContext, "models" | "assignments" | "clientOf">,
  {
    idOf,
    due,
  }: {
    readonly idOf: (client: string, work: Work) => string;
    readonly due: () => number;
  },
): GivenWork & { readonly opening: (attempt: AttemptRecord) => void } {
  const { definition, rounds, send, tell, ledger, models, assignments, clientOf } = context;
  let attempt: AttemptRecord | undefined;

  const given = (client: string, work: Work): Assignment | undefined =>
    assignments.get(idOf(client, work));

  return {
    given,
    opening: (opened) => void (attempt = opened),
    secureTerms: () => secureTermsOf(definition, attempt!, models.current.sha256),

    give(client, work, lease) {
      const before = given(client, work);
      const assignment =
        before === undefined || before.ended !== undefined
          ? newAssignment(
              idOf(client, work),
              client,
              "train",
              work,
              modelFor(models, clientOf(client)),
              settingsFor(definition, attempt!, models.current.sha256, client, work),
            )
          : before;
      clearTimeout(assignment.lease);
      if (lease === undefined) assignment.due = due();
      else {
        assignment.due = performance.now() + lease;
        assignment.lease = setTimeout(() => send({ type: "expired", client, work }), lease);
      }
      assignments.give(assignment);
    },

    late(client, work, code) {
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

    abandoned(work) {
      const ended = assignments.of(work);
      for (const assignment of ended) assignments.end(assignment, "abandoned");
      return ended;
    },
  };
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
