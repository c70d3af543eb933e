import * as v from "valibot";
import { digest, sha256, toHex } from "../connection/hash.js";
import { startOf, type Part } from "../data/dataset.js";
import { readBlob, writeBlob } from "../tensors/blob.js";
import type { Layout } from "../tensors/layout.js";
import { readSafetensors } from "../tensors/safetensors.js";
import { elements } from "../tensors/shape.js";
import type { StateStore } from "../platform/platform.js";
import type { Snapshot } from "../training/job.js";
import { decodeJson } from "../json.js";
import { serial } from "../serial.js";
import { joined } from "./joined.js";

/**
 * The round that a client was training when it was killed: one blob in its store, `half-trained`,
 * which each later snapshot takes the place of. A safetensors file with the weights, its metadata
 * what the work is and how far it is; behind it 32 bytes, its SHA-256.
 */
const NAME = "half-trained";
const HASH_BYTES = 32;
/** Inputs that are hashed to tell data from others, in bytes. */
const HASHED_INPUTS = 4 * 1024 * 1024;

/**
 * Everything that a round's bits depend on. A snapshot of other work is of no use, for the reason given
 * here.
 */
const MUST_MATCH = {
  assignment: "it belongs to another assignment",
  model: "the model to start from is another one",
  settings: "the settings are others",
  state: "the algorithm's state is another one",
  build: "it was computed by another build of the kernels",
  data: "the examples have changed",
} as const;
const DAMAGED = "it is damaged";

export type WorkIdentity = Readonly<Record<keyof typeof MUST_MATCH, string>>;
const workSchema = v.record(v.string(), v.string());

const positionSchema = v.object({
  batch: v.pipe(v.number(), v.safeInteger()),
  chance: v.custom<Snapshot["chance"]>(
    (state) => Array.isArray(state) && state.length === 4 && state.every(Number.isSafeInteger),
  ),
  activationNorms: v.array(v.number()),
  lossBefore: v.number(),
  seconds: v.number(),
});

export interface HalfTrained {
  /**
   * The snapshot of this work, or why the one that is there is of other work: then it is removed.
   * `work` is asked only where there is one. Never throws: what cannot be read is damaged.
   */
  find(
    work: () => Promise<WorkIdentity>,
    layout: Layout,
  ): Promise<{
    snapshot?: Snapshot;
    dropped?: { code: string; message: string };
  }>;
  /**
   * Keeps this snapshot in place of any other. @throws whatever the store throws, and then the one
   * before is still there.
   */
  keep(work: WorkIdentity, layout: Layout, snapshot: Snapshot): Promise<void>;
  /** The assignment is over, or any is: nothing is kept of it. False where nothing was. */
  drop(assignment?: string): Promise<boolean>;
  /** Every change asked for so far is made, or has failed. */
  idle(): Promise<void>;
}

export function halfTrainedIn(store: StateStore): HalfTrained {
  /** The assignment whose snapshot is known to be there. */
  let holds: string | undefined;
  // A snapshot that is being written must not outlive the end of its round.
  const queue = serial();

  return {
    find: (work, layout) =>
      queue.run(async () => {
        let code = "damaged";
        let message: string = DAMAGED;
        try {
          const bytes = await store.get(NAME);
          if (bytes === undefined) return {};
          const there = await decode(bytes);
          const wanted = await work();
          const other = (Object.keys(MUST_MATCH) as (keyof WorkIdentity)[]).find(
            (key) => there.work[key] !== wanted[key],
          );
          if (other === undefined) {
            const { weights } = readBlob(there.blob, layout, ["weights"]);
            holds = wanted.assignment;
            return { snapshot: { ...there.position, weights } };
          }
          code = other;
          message = MUST_MATCH[other];
        } catch {
          // Damaged.
        }
        await store.delete(NAME).catch(() => {});
        return { dropped: { code, message } };
      }),
    keep: (work, layout, { weights, ...position }) =>
      queue.run(async () => {
        const blob = writeBlob(
          layout,
          { weights },
          { work: JSON.stringify(work), position: JSON.stringify(position) },
        );
        await store.put(NAME, joined(blob, await digest(blob)));
        holds = work.assignment;
      }),
    drop: (assignment) =>
      queue.run(async () => {
        if (assignment !== undefined && assignment !== holds) return false;
        holds = undefined;
        await store.delete(NAME);
        return true;
      }),
    idle: queue.idle,
  };
}

/** @throws any error where the bytes are not those that were written */
async function decode(bytes: Uint8Array) {
  const whole = bytes.slice();
  const blob = whole.subarray(0, -HASH_BYTES);
  if ((await sha256(blob)) !== toHex(whole.subarray(blob.length))) throw new TypeError(DAMAGED);
  const { metadata } = readSafetensors(blob);
  const work = decodeJson(workSchema, metadata["work"]);
  const position = decodeJson(positionSchema, metadata["position"]);
  if (work === undefined || position === undefined) throw new TypeError(DAMAGED);
  return { blob, work, position };
}

/**
 * A fingerprint of the examples to train on: their number and shape, all labels, and the inputs of
 * as many as four megabytes hold, evenly spread. More would cost a device with much data longer
 * than the training that it may save.
 */
export function dataIdentity({ dataset, rows }: Part): Promise<string> {
  const { shape, inputs, starts, labels, targets } = dataset;
  const size = elements(shape);
  const width = size * inputs.BYTES_PER_ELEMENT;
  const apart = Math.max(1, Math.ceil((rows.length * width) / HASHED_INPUTS));
  const hashed = rows.filter((_, i) => i % apart === 0);
  const head = new TextEncoder().encode(
    JSON.stringify([shape, inputs.BYTES_PER_ELEMENT, rows.length]),
  );
  const targetWidth = targets === undefined ? 0 : targets.size * targets.values.BYTES_PER_ELEMENT;
  const all = new Uint8Array(head.length + 4 * rows.length + (width + targetWidth) * hashed.length);
  all.set(head);
  let at = head.length;
  const put = (part: ArrayBufferView) => {
    all.set(new Uint8Array(part.buffer, part.byteOffset, part.byteLength), at);
    at += part.byteLength;
  };
  put(Int32Array.from(rows, (row) => labels[row]));
  for (const row of hashed) {
    const start = startOf(starts, row, size);
    put(inputs.subarray(start, start + size));
    if (targets === undefined) continue;
    const from = startOf(targets.starts, row, targets.size);
    put(targets.values.subarray(from, from + targets.size));
  }
  return sha256(all);
}
