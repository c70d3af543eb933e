import { copyOf, release } from "../../runtime/tensors/memory.js";
import { modelFor } from "../clients/assignments.js";
import type { Attempts } from "./attempts.js";
import { believed, evaluators, TASKS } from "../clients/clients.js";
import { collectAll } from "../memory.js";
import { clientMeans } from "./client-means.js";
import type { RunContext, RunBase, RunStorage } from "./context.js";
import {
  roundRecord,
  withoutMeans,
  trainSecondsOf,
  type RoundRecord,
  type RoundTimings,
} from "./round-record.js";
import type { Spent } from "./privacy.js";
import type { RoundEffect } from "../rounds/engine.js";
import type { Leaf } from "./leaf/leaf.js";
import type { Blob, Checkpoint, CommitRecord } from "../storage/ledger.js";
import type { AssignmentRow } from "../storage/store.js";

export type CommitContext = RunBase &
  RunStorage &
  Pick<
    RunContext,
    | "reducer"
    | "models"
    | "uploads"
    | "evaluations"
    | "folder"
    | "clients"
    | "clientOf"
    | "roster"
    | "account"
  >;

/**
 * Moves the model by the fold and makes the round durable; then everybody may know, and the model
 * is evaluated.
 */
export async function commitRound(
  context: CommitContext,
  { latest, openedAt }: Pick<Attempts, "latest" | "openedAt">,
  leaf: Pick<Leaf, "committed">,
  { open }: Pick<Extract<RoundEffect, { readonly type: "close" }>, "open">,
): Promise<void> {
  const { definition, reducer, clients, clientOf, models, store, withRetry } = context;
  const { settings, updateBytes } = definition;
  const collected = performance.now();
  await withRetry(async () => {
    const counted = await store.counted(open);
    const partials = (await store.partials(open)).map(({ name }) => name);
    if (definition.isLarge) {
      // The model moves in the room that the updates leave.
      await reducer.rest();
      context.uploads.trim();
      collectAll();
    }
    const spent = await charge(context, open);
    const checkpoint = withoutTwin(
      await reducer.finish(
        copyOf(models.current.bytes),
        open.population,
        spent && JSON.stringify(spent),
      ),
      models.current,
    );
    const finished = performance.now();
    const builds = counted.map(({ client }) => clients.get(client)?.build);
    const { maxSamples } = latest();
    const measured = counted.map(({ client, claim }) => ({
      client,
      samples: Math.min(claim!.samples, maxSamples),
      metrics: claim!.metrics,
    }));
    // Of masked updates nothing is known that could be averaged.
    const { means, doubts } = clientMeans(settings.secure ? [] : measured, definition.norms);
    const whole = roundRecord(settings, open, counted, means, checkpoint, {
      build: reducer.build,
      clientBuilds: [...new Set(builds.map((build) => build ?? "unknown"))].sort(),
    });
    const discreet = definition.privacy?.discreet === true || settings.secure;
    const rounded = { ...(discreet ? withoutMeans(whole) : whole), ...spent };
    const record: CommitRecord = {
      round: open.round,
      attempt: open.attempt,
      model: checkpoint.model.sha256,
      state: checkpoint.state.sha256,
      members: counted.map(({ id, client, claim }) => ({
        client,
        round: open.round,
        assignment: id,
        sha256: claim!.sha256,
      })),
      line: { ...rounded },
    };
    const forms = await reducer.forms(checkpoint.model.bytes);
    await withRetry(async () => {
      await store.commit(record, checkpoint, partials);
      const commitSeconds = (performance.now() - finished) / 1000;
      models.keep(open.round, checkpoint.model, forms);
      refresh(context, counted);
      await leaf.committed(counted);
      const timings: RoundTimings = {
        round: open.round,
        seconds: (performance.now() - openedAt) / 1000,
        ...(discreet
          ? {}
          : {
              trainSeconds: Math.max(...counted.map((one) => trainSecondsOf(settings, one.claim!))),
            }),
        updateBytes: counted.length * updateBytes,
        modelBytes: counted.reduce(
          (sum, { client }) => sum + modelFor(models, clientOf(client)).bytes.length,
          0,
        ),
        collectSeconds: (collected - openedAt) / 1000,
        finishSeconds: (finished - collected) / 1000,
        commitSeconds,
      };
      for (const { client, reason } of discreet ? [] : doubts) {
        context.log.warn(
          { client: client.slice(0, 32), round: open.round },
          `a client's figures are doubtful: ${reason}`,
        );
        context.tell("doubted", { client, round: open.round, reason });
      }
      follow(context, rounded, timings);
    });
  });
}

/**
 * Charges the round for the noise that is drawn next, in the journal first: a crash behind it
 * charges twice, and never not at all.
 */
async function charge(
  { account, ledger, epoch }: CommitContext,
  { round, attempt }: { readonly round: number; readonly attempt: number },
): Promise<Spent | undefined> {
  if (account === undefined) return undefined;
  const one = account.chargeFor(round, attempt);
  await ledger.charge(epoch, one);
  account.charged(one);
  return account.spent;
}

/**
 * What the round has shown of its clients holds from the next one on: an update says on how many
 * samples it was trained, and those may have grown since the client said hello. What a client could
 * not do from the model before, it may be able to do from this one.
 */
function refresh(
  { definition, clients, withRetry, ledger, epoch, roster }: CommitContext,
  counted: readonly AssignmentRow[],
): void {
  const { maxSamples, secure } = definition.settings;
  // The weight of a masked update is capped, and says less than the client's hello.
  for (const { client: id, claim } of secure ? [] : counted) {
    const client = clients.get(id);
    const samples = believed(claim!.samples, maxSamples);
    if (client === undefined || client.samples === samples) continue;
    client.samples = samples;
    void withRetry(() => ledger.register(epoch, { id, samples }));
  }
  for (const { troubles } of clients.values())
    for (const task of TASKS) if (troubles[task]?.until === "model") delete troubles[task];
  roster.tell();
}

/** What follows a committed round. */
function follow(
  { definition, log, send, tell, folder, models, ...context }: CommitContext,
  record: RoundRecord,
  timings: RoundTimings,
): void {
  const { round, attempt, participants } = record;
  const { evaluateEvery, rounds } = definition.settings;
  log.info({ round, attempt, counted: participants.length }, "a round is committed");
  folder?.round(record, timings, models.whole(models.current));
  tell("round", record, timings);
  if (round % evaluateEvery === 0 || round === rounds) {
    context.evaluations.begin(round, models.current, evaluators(context.clients.values()));
  }
  send({ type: "committed" });
}

/** A round that has left the model as it was needs no second copy of it. */
function withoutTwin(checkpoint: Checkpoint, current: Blob): Checkpoint {
  const { model } = checkpoint;
  if (model.sha256 !== current.sha256) return checkpoint;
  release(model.bytes.buffer);
  return { ...checkpoint, model: current };
}
