import type { Algorithm } from "../algorithms/algorithm.js";
import { sha256 } from "../connection/hash.js";
import type { Part } from "../data/dataset.js";
import { DataError, FedflatError, ModelError, ProtocolError } from "../errors.js";
import { networkOf } from "../models/network.js";
import type { Vector } from "../tensors/layout.js";
import { blobTensors, readBlob, readState } from "../tensors/blob.js";
import type { OutgoingClientMessage } from "../protocol/client-messages.js";
import { isReadable } from "../protocol/results.js";
import type { TrainSettings } from "../protocol/settings.js";
import { trainingMemory } from "../training/engine.js";
import { weightedOf, type JobOptions, type Snapshot, type Trainer } from "../training/job.js";
import { release } from "../tensors/memory.js";
import { random } from "../tensors/random.js";
import { trainRound } from "../training/train-round.js";
import { averagedIn, runningValuesForm } from "../training/running-values.js";
import { updateForm, type CodecChoice } from "../training/transmission.js";
import { writeSafetensors } from "../tensors/safetensors.js";
import { Declined } from "./declined.js";
import { joined } from "./joined.js";
import type { Loaded } from "./model-cache.js";
import { PERSONAL } from "./personal.js";

/** The code of docs/protocol.md under which an assignment has `failed`. */
export function failureCode(error: unknown): string {
  if (!(error instanceof FedflatError)) return "other";
  if (error.code === "diverged" || error.code === "seconds") return error.code;
  if (error.code === "failed") return /memory|allocat/i.test(error.message) ? "memory" : "trap";
  if (error instanceof DataError) return "data";
  if (error instanceof ModelError || error instanceof ProtocolError) return "model";
  return "other";
}

/** What WebAssembly can address: no limit of a device lets a task have more. */
const ADDRESSABLE = 2 ** 32;

/**
 * The bytes that training leaves of `limit`, as far as can be told before.
 * @throws Declined `memory` where it takes more
 */
export function checkMemory(
  { model, bytes }: Loaded,
  { batchSize }: TrainSettings,
  { client }: Algorithm,
  limit = Infinity,
): number {
  // Beyond the plan: the model's file and weights, and the update; the state in float64, the next
  // one, and its file.
  const network = networkOf(model.description);
  const { shared, fixed } = network.shares;
  const needed =
    trainingMemory(network, batchSize) +
    4 * (bytes.length + 4 * fixed.layout.size) +
    3 * 8 * shared.layout.size * client.state.length;
  const most = Math.min(limit, ADDRESSABLE);
  if (needed > most)
    throw new Declined(
      "memory",
      `"memory" expected at most ${most} bytes, got a task of ${needed}`,
    );
  return most - needed;
}

export interface TrainTask {
  readonly assignment: string;
  readonly settings: TrainSettings;
  readonly algorithm: Algorithm;
  readonly codec: CodecChoice;
  /** The name of the work, as `workName` makes it. */
  readonly work: string;
  /** The model to start from, with what was broadcast beside it. */
  readonly base: Loaded;
  readonly part: Part;
  /** The algorithm's committed state, if it has one. */
  readonly state: Uint8Array | undefined;
  /** Bytes of memory that the task leaves. */
  readonly spare?: number;
  /** Where the same assignment was cut before. */
  readonly from?: Snapshot;
}

/** A finished update, with the state that becomes the client's once it is committed. */
export interface Finished {
  readonly offer: Extract<OutgoingClientMessage, { type: "offer" }>;
  readonly update: Uint8Array<ArrayBuffer>;
  readonly state: Uint8Array<ArrayBuffer> | undefined;
}

/**
 * Trains, and encodes what is sent and kept.
 * @throws ModelError `diverged`, and as `Trainer.train`
 */
export async function trainAssignment(
  trainer: Trainer,
  { assignment, settings, algorithm, codec, work, base, part, state, spare, from }: TrainTask,
  options: JobOptions,
): Promise<Finished> {
  const { model, bytes } = base;
  const { shares } = networkOf(model.description);
  const { shared, personal, statistics } = shares;
  const { layout } = shared;
  const samples = part.rows.length;
  const form = updateForm(algorithm.client, codec, layout);
  const round = {
    grid: settings.grid,
    chance: random(settings.seed, "codec").next,
    drawn: await form.draw?.(work),
  };
  let update = new Uint8Array();
  const result = await trainRound(
    trainer,
    {
      ...weightedOf(model),
      algorithm,
      settings: { ...settings, meanSamples: settings.meanSamples || samples },
      part,
      spare,
      state: state && readState(state, layout, algorithm.client.state),
      received: readBlob(bytes, layout, algorithm.client.receives),
      from,
      transmit(wanted) {
        requireFinite(wanted);
        update = form.encode(wanted, round);
        // Rounded, they are copies of our own.
        if (settings.grid !== undefined && algorithm.client.feedback !== "residual")
          for (const { buffer } of Object.values(wanted)) release(buffer);
        return form.decode(update, round);
      },
    },
    options,
  );
  requireFinite({ ...result.update, ...result.state });
  const averaged = averagedIn(shares, settings);
  if (averaged !== undefined && result.statistics !== undefined) {
    requireFinite({ statistics: result.statistics });
    update = joined(update, runningValuesForm(averaged).encode(result.statistics));
  }
  const { lossBefore, lossAfter, activationNorms, seconds } = result.metrics;
  const metrics = { lossBefore, lossAfter, activationNorms: [...activationNorms], seconds };
  const tensors = [
    ...blobTensors(layout, result.state),
    ...(result.personal ? blobTensors(personal.layout, { [PERSONAL]: result.personal }) : []),
    ...(result.statistics && settings.batchNorm === "local"
      ? blobTensors(statistics.layout, { [PERSONAL]: result.statistics })
      : []),
  ];
  const kept = tensors.length > 0 ? writeSafetensors(tensors) : undefined;
  release(result.delta.buffer);
  return {
    offer: readable({
      type: "offer",
      assignment,
      sha256: await sha256(update),
      bytes: update.length,
      samples,
      metrics,
    }),
    update,
    state: kept,
  };
}

/** @throws ModelError `diverged` */
export function requireFinite(vectors: Readonly<Record<string, Vector | Float64Array>>): void {
  for (const vector of Object.values(vectors))
    if (!vector.every(Number.isFinite))
      throw new ModelError(
        "diverged",
        `"update" expected finite numbers, got NaN or infinite ones`,
      );
}

/**
 * The message, if its figures are within the bounds of docs/protocol.md: finite, and of a size that
 * a loss or a norm has.
 * @throws ModelError `diverged`
 */
export function readable<M extends Extract<OutgoingClientMessage, { type: "offer" | "report" }>>(
  message: M,
): M {
  if (isReadable(message)) return message;
  throw new ModelError(
    "diverged",
    `"${message.type}" expected losses and norms of at most 1e30, got larger ones or none`,
  );
}
