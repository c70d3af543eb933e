import { release } from "../runtime/params/release.js";
import { nameOf, type Assignments } from "./assignments.js";
import type { Assignment, Client } from "./clients.js";
import { collectAll } from "./collect.js";
import type { Desk } from "./desk.js";
import type { Durably } from "./durably.js";
import type { Models } from "./models.js";
import { inTurns } from "./pace.js";
import { roundLine, type RoundLine, type RoundTimings } from "./round-line.js";
import type { Attempt } from "./rounds/engine.js";
import type { AggregatorSettings } from "./settings.js";
import type {
  Blob,
  Checkpoint,
  CommitRecord,
  Ledger,
} from "./storage/ledger.js";
import type { Uploads } from "./uploads.js";

/** Above this size of an update, in bytes, what a round leaves behind is worth a full collection. */
export const LARGE = 1024 * 1024;

/** What a commit works with. */
export interface CommitParts {
  readonly settings: AggregatorSettings;
  readonly updateBytes: number;
  readonly desk: Desk;
  readonly ledger: Pick<Ledger, "commit">;
  readonly epoch: number;
  readonly durably: Durably;
  readonly models: Models;
  readonly uploads: Pick<Uploads, "trim">;
  readonly assignments: Pick<Assignments, "forgetBefore">;
  readonly clients: ReadonlyMap<string, Client>;
  /** The most commits that an update's own model may be behind. */
  readonly maxStaleness: number;
  /** When the attempt was opened, in the time of `performance.now()`. */
  readonly openedAt: number;
  /** The round is on disk, and its members know. */
  readonly committed: (
    line: RoundLine,
    timings: RoundTimings,
    model: Blob,
  ) => void;
}

/**
 * Moves the model by the fold and makes the round durable; then everybody may know.
 * @param counted the assignments whose updates are in the fold, sorted by client
 */
export async function commitRound(
  parts: CommitParts,
  open: Attempt,
  counted: readonly Assignment[],
): Promise<void> {
  const { settings, updateBytes, desk, clients, models, durably } = parts;
  const collected = performance.now();
  await durably(async () => {
    if (updateBytes > LARGE) {
      // The model moves in the room that the updates leave.
      await desk.rest();
      parts.uploads.trim();
      collectAll();
    }
    const checkpoint = withoutTwin(
      await desk.finish(models.current.bytes, open.population),
      models.current,
    );
    const finished = performance.now();
    const builds = counted.map(({ client }) => clients.get(client)?.build);
    const line = roundLine(settings, open, counted, checkpoint, {
      build: desk.build,
      clientBuilds: [
        ...new Set(builds.map((build) => build ?? "unknown")),
      ].sort(),
    });
    const record: CommitRecord = {
      round: open.round,
      attempt: open.attempt,
      model: checkpoint.model.sha256,
      state: checkpoint.state.sha256,
      members: counted.map(({ id, client, offer }) => ({
        client,
        round: open.round,
        assignment: id,
        sha256: offer!.sha256,
      })),
      line: { ...line },
    };
    await durably(async () => {
      await parts.ledger.commit(parts.epoch, record, checkpoint);
      const commitSeconds = (performance.now() - finished) / 1000;
      await announce(parts, open.round, checkpoint.model, counted);
      const timings: RoundTimings = {
        round: open.round,
        seconds: (performance.now() - parts.openedAt) / 1000,
        trainSeconds: Math.max(
          ...counted.map(({ offer }) => offer!.metrics.seconds),
        ),
        updateBytes: counted.length * updateBytes,
        collectSeconds: (collected - parts.openedAt) / 1000,
        finishSeconds: (finished - collected) / 1000,
        commitSeconds,
      };
      parts.committed(line, timings, checkpoint.model);
    });
  });
}

/** Tells those whose updates are in the round, then all the others. */
async function announce(
  { models, clients, assignments, maxStaleness }: CommitParts,
  round: number,
  model: Blob,
  counted: readonly Assignment[],
): Promise<void> {
  models.keep(round, model);
  const members = new Set(counted.map(({ client }) => client));
  await inTurns(counted, ({ id, client }) =>
    clients.get(client)?.session?.send({
      type: "committed",
      assignment: id,
      round,
      model: nameOf(model),
    }),
  );
  await inTurns(clients.values(), ({ id, session }) => {
    if (!members.has(id))
      session?.send({ type: "model", round, model: nameOf(model) });
  });
  // A late offer for this round is still told that it is late; one for an older round that it is unknown.
  assignments.forgetBefore(round, round - maxStaleness);
}

/** A round that has left the model as it was needs no second copy of it. */
function withoutTwin(checkpoint: Checkpoint, current: Blob): Checkpoint {
  const { model } = checkpoint;
  if (model.sha256 !== current.sha256) return checkpoint;
  release(model.bytes.buffer);
  return { ...checkpoint, model: current };
}
