import type { Work } from "../../rounds/participants.js";
import { nameOf } from "../../clients/assignments.js";
import { inSlices } from "../../sessions/fair-scheduling.js";
import type { AttemptRecord } from "../../storage/ledger.js";
import type { AssignmentRow } from "../../storage/store.js";
import type { RunBase, RunContext, RunStorage } from "../context.js";
import { openClaims, type Claims } from "./claims.js";
import { openFolds, type Folds } from "./folds.js";
import { openUpdates, type Updates } from "./updates.js";
import { openWork, type GivenWork } from "./work.js";

/**
 * The half of a run that holds clients' connections: it gives them work, takes their updates in,
 * claims them, and folds what the store grants. What the coordinator decides comes to it by these
 * calls, each of which is what a row of the store says; what it finds out it tells the rounds.
 */
export interface Leaf extends Updates, GivenWork, Pick<Claims, "claimAgain">, Pick<Folds, "ship"> {
  /** An attempt is about to open. */
  opening(attempt: AttemptRecord): Promise<void>;
  /** A round is committed, and its model is the newest: everybody is told. */
  committed(counted: readonly AssignmentRow[]): Promise<void>;
}

export function openLeaf(
  context: RunBase & Pick<RunStorage, "ledger" | "leafStore"> & LeafParts,
  options: {
    readonly idOf: (client: string, work: Work) => string;
    /** When the deadline of the rounds passes, in the time of `performance.now()`. */
    readonly due: () => number;
    readonly wrongIn: Parameters<typeof openUpdates>[2];
  },
): Leaf {
  const folds = openFolds(context);
  const claims = openClaims(context, folds);
  const updates = openUpdates(context, claims, options.wrongIn);
  const work = openWork(context, options);
  return {
    ...updates,
    ...work,
    claimAgain: claims.claimAgain,
    ship: folds.ship,
    async opening(attempt) {
      work.opening(attempt);
      await folds.open(attempt);
    },
    async committed(counted) {
      await announce(context, counted);
      // What waits may have come to its end by the commit.
      await claims.claimAgain();
    },
  };
}

type LeafParts = Pick<
  RunContext,
  "reducer" | "models" | "uploads" | "assignments" | "clients" | "clientOf" | "roster"
>;

/** Tells those whose updates are in the round, then all the others. */
async function announce(
  { models, clients, assignments, rounds }: Pick<RunBase, "rounds"> & LeafParts,
  counted: readonly AssignmentRow[],
): Promise<void> {
  const { round } = models;
  const model = nameOf(models.current);
  const members = new Set(counted.map(({ client }) => client));
  await inSlices(counted, ({ id, client }) =>
    clients.get(client)?.session?.send({ type: "committed", assignment: id, round, model }),
  );
  await inSlices(clients.values(), ({ id, session }) => {
    if (!members.has(id)) session?.send({ type: "model", round, model });
  });
  // A late offer for this round is still told that it is late; one for an older round that it is
  // unknown.
  assignments.forgetBefore(round, round - rounds.maxStaleness);
}
