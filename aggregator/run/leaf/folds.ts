import type { Assignment } from "../../clients/clients.js";
import type { Following } from "../../aggregation/arrivals.js";
import { mostUpdates } from "../../rounds/engine.js";
import type { AttemptRecord } from "../../storage/ledger.js";
import { brokenBy } from "../../storage/retry.js";
import type { RunBase, RunContext } from "../context.js";
import { quantiserOf } from "../secure.js";
import { learningRateOf, trainSecondsOf } from "../round-record.js";

/** The sum of the updates that a leaf has claimed of a round. */
export interface Folds {
  /** Begins the fold of an attempt; what the one before held is dropped. */
  open(attempt: AttemptRecord): Promise<void>;
  /** Adds the update of this assignment, which the store permits. */
  fold(assignment: Assignment): void;
  /** Hands over what is in the fold, once everything claimed is in it. */
  ship(): Promise<void>;
}

export function openFolds(
  context: RunBase &
    Pick<RunContext, "leafStore" | "reducer" | "models" | "uploads" | "assignments" | "clientOf">,
): Folds {
  const { definition, log, rounds, send, tell, leafStore } = context;
  const { reducer, uploads, assignments, clientOf } = context;
  const { settings, updateBytes } = definition;
  let attempt: AttemptRecord | undefined;
  /** Updates in the fold. */
  let counted = 0;
  /** Clients whose updates are in it or on their way there. */
  const members = new Map<string, Promise<void>>();

  /** How a round is trained, where the reducer computes what its clients do not send. */
  const followingOf = ({ round, meanSamples }: AttemptRecord): Following | undefined =>
    definition.follows
      ? {
          learningRate: learningRateOf(settings, round),
          initialLearningRate: settings.learningRate,
          localEpochs: settings.localEpochs,
          batchSize: settings.batchSize,
          meanSamples,
          model: (context.models.forms.shadow ?? context.models.current).bytes,
          half: context.models.forms.half?.bytes,
        }
      : undefined;

  async function add(assignment: Assignment): Promise<void> {
    const { id, client, work } = assignment;
    const { samples: offered } = assignment.offer!;
    const { round, goal, maxSamples } = attempt!;
    const staleness = round - work.round;
    const samples = Math.min(offered, maxSamples);
    const discreet = definition.privacy?.discreet === true || settings.secure;
    if (samples < offered && !discreet)
      log.info(
        { client: client.slice(0, 32), round, samples: offered, weight: samples },
        "an update counts with fewer samples than it was trained on",
      );
    const begun = performance.now();
    let norm: number;
    try {
      norm = await reducer.fold(id, client, samples, staleness);
    } catch (error) {
      log.error({ err: error }, "an admitted update could not be folded");
      return send(brokenBy(error));
    }
    // Called off while it was folded: the client knows.
    if (assignment.ended !== undefined) return;
    assignment.folded = true;
    delete clientOf(client).troubles.train;
    uploads.release(id);
    clientOf(client).session?.send({ type: "received", assignment: id });
    const { clipUpdateNorm } = settings;
    const isClipped = clipUpdateNorm > 0 && norm > clipUpdateNorm;
    log.info(
      { client: client.slice(0, 32), round, staleness, ...(discreet ? {} : { norm }) },
      isClipped ? "an update is clipped and folded" : "an update is folded",
    );
    tell("counted", {
      client,
      round,
      counted: ++counted,
      goal,
      staleness,
      bytes: updateBytes,
      // What a masked update says of itself is nothing.
      ...(settings.secure
        ? {}
        : { norm, clipped: isClipped, trainSeconds: trainSecondsOf(settings, assignment.offer!) }),
      foldSeconds: (performance.now() - begun) / 1000,
    });
    assignments.free(assignment);
  }

  return {
    open(opened) {
      attempt = opened;
      counted = 0;
      members.clear();
      return reducer.openFold({
        round: opened.round,
        attempt: opened.attempt,
        updates: mostUpdates(opened),
        samples: opened.maxSamples,
        staleness: rounds.maxStaleness,
        quantiser: settings.secure
          ? quantiserOf(settings, definition.algorithm, opened)
          : undefined,
        following: followingOf(opened),
      });
    },

    fold: (assignment) => void members.set(assignment.client, add(assignment)),

    async ship() {
      await Promise.all(members.values());
      const { round, attempt: number } = attempt!;
      const { leaf } = leafStore;
      await leafStore.ship({
        ...{ name: `${round}-${number}-${leaf}`, leaf },
        ...{ round, attempt: number, members: [...members.keys()], place: "here" },
      });
    },
  };
}
