import * as v from "valibot";
import { sha256 } from "../connection/hash.js";
import { FedflatError } from "../errors.js";
import type { StateStore } from "../platform/platform.js";
import { decodeJson } from "../json.js";
import { orNull } from "../protocol/fields.js";
import { offer } from "../protocol/results.js";
import { serial } from "../serial.js";

/**
 * What a client remembers of a run, in its store:
 *   runs                  names of the runs it was in, the newest first
 *   run.<run>             the record below, as JSON: one write moves the client from one consistent state to the next
 *   update.<assignment>   a finished update that is not settled
 *   state.<assignment>    the algorithm's state after that assignment, float64: pending, then committed
 * Blobs that no record names are what a crash left behind; opening removes them.
 */
const named = v.object({ name: v.string(), sha256: v.string() });
const counted = v.object({
  round: v.number(),
  assignment: v.string(),
  sha256: v.string(),
});
const recordSchema = v.object({
  /** n_k when it last trained. */
  samples: orNull(v.number()),
  /** The last update known to be committed. */
  counted: orNull(counted),
  /** The algorithm's state after it. */
  state: orNull(named),
  pending: v.array(
    v.object({
      round: v.number(),
      offer,
      state: orNull(named),
    }),
  ),
  /** The newest secure attempts that it took part in, as round/attempt. */
  entered: v.optional(v.array(v.string()), []),
});
type Record = v.InferOutput<typeof recordSchema>;
export type Counted = v.InferOutput<typeof counted>;
export type Pending = Record["pending"][number];

/** Secure attempts that are remembered. */
const KEPT_ATTEMPTS = 64;

/** Runs that are remembered. */
const KEPT_RUNS = 4;

const EMPTY: Record = {
  samples: null,
  counted: null,
  state: null,
  pending: [],
  entered: [],
};

const encodeJson = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

/** Damaged is the same as lost, which hello then says. */
const decoded = <S extends v.GenericSchema>(schema: S, bytes: Uint8Array | undefined) =>
  bytes && decodeJson(schema, new TextDecoder().decode(bytes));

/** The records of one run. Every change is on disk when its promise resolves. */
export interface Records {
  readonly record: Record;
  /** The committed algorithm state; undefined before the first commit, or where it was lost. */
  state(): Promise<Uint8Array | undefined>;
  /** A finished update's bytes. */
  update(assignment: string): Promise<Uint8Array | undefined>;
  /** Keeps a finished update and the state that becomes the client's once it is committed. */
  keep(
    pending: Omit<Pending, "state">,
    update: Uint8Array<ArrayBuffer>,
    state: Uint8Array<ArrayBuffer> | undefined,
  ): Promise<void>;
  /** The update is in the model: its pending state becomes the state, at one stroke. */
  commit(assignment: string, round: number): Promise<void>;
  /** A masked update, of which nothing is kept, is in the model. */
  count(counted: Counted): Promise<void>;
  /**
   * Takes part in a secure attempt, for the first time.
   * @throws FedflatError `entered` where an earlier life of this client did
   */
  enter(attempt: string): Promise<void>;
  /** The update is not and will not be in the model. */
  drop(assignment: string): Promise<void>;
  /** Starts at zero: what is remembered does not fit what the aggregator counted. */
  reset(counted: Counted | null): Promise<void>;
  /** Every change asked for so far is on disk, or has failed. */
  idle(): Promise<void>;
}

/**
 * The names of the runs in the store, the newest first; `run` becomes the newest. Forgets what is
 * too old or orphaned.
 */
export async function rememberRun(store: StateStore, run: string): Promise<void> {
  const known = await knownRuns(store);
  if (known[0] === run) return;
  const runs = [run, ...known.filter((other) => other !== run)];
  await store.put("runs", encodeJson(runs.slice(0, KEPT_RUNS)));
}

export async function knownRuns(store: StateStore): Promise<string[]> {
  return decoded(v.array(v.string()), await store.get("runs")) ?? [];
}

/** Removes the blobs that no record names. */
export async function removeOrphans(store: StateStore): Promise<void> {
  const named = new Set<string>();
  for (const run of await knownRuns(store)) {
    named.add(`run.${run}`);
    const record = decoded(recordSchema, await store.get(`run.${run}`));
    if (record?.state) named.add(record.state.name);
    for (const { offer, state } of record?.pending ?? []) {
      named.add(`update.${offer.assignment}`);
      if (state) named.add(state.name);
    }
  }
  for (const name of await store.list())
    if (/^(run|update|state)\./.test(name) && !named.has(name)) await store.delete(name);
}

/**
 * Opens the records of a run. State or updates whose bytes are not those that were written count as
 * lost.
 */
export async function openRecords(store: StateStore, run: string): Promise<Records> {
  const name = `run.${run}`;
  let record = decoded(recordSchema, await store.get(name)) ?? EMPTY;
  const isWhole = async (name: string, hash: string) => {
    const bytes = await store.get(name);
    return bytes !== undefined && (await sha256(bytes.slice())) === hash;
  };
  if (record.state && !(await isWhole(record.state.name, record.state.sha256)))
    record = { ...record, state: null, counted: null };
  const pending: Pending[] = [];
  for (const one of record.pending)
    if (
      (await isWhole(`update.${one.offer.assignment}`, one.offer.sha256)) &&
      (one.state === null || (await isWhole(one.state.name, one.state.sha256)))
    )
      pending.push(one);
  record = { ...record, pending };

  // Changes come from messages that may cross; each waits for the one before it.
  const queue = serial();
  const write = async (next: Record) => {
    await store.put(name, encodeJson(next));
    record = next;
  };
  const without = (assignment: string) =>
    record.pending.filter(({ offer }) => offer.assignment !== assignment);

  return {
    get record() {
      return record;
    },
    state: () => queue.run(async () => (record.state ? store.get(record.state.name) : undefined)),
    update: (assignment) => queue.run(() => store.get(`update.${assignment}`)),
    keep: (pending, update, state) =>
      queue.run(async () => {
        const { assignment, samples } = pending.offer;
        await store.put(`update.${assignment}`, update);
        let kept: Pending["state"] = null;
        if (state !== undefined) {
          kept = { name: `state.${assignment}`, sha256: await sha256(state) };
          await store.put(kept.name, state);
        }
        await write({
          ...record,
          samples,
          pending: [...without(assignment), { ...pending, state: kept }],
        });
      }),
    commit: (assignment, round) =>
      queue.run(async () => {
        const pending = record.pending.find(({ offer }) => offer.assignment === assignment);
        if (pending === undefined) return;
        const old = record.state;
        const { sha256 } = pending.offer;
        await write({
          ...record,
          counted: { round, assignment, sha256 },
          state: pending.state ?? old,
          pending: without(assignment),
        });
        await store.delete(`update.${assignment}`);
        if (old !== null && pending.state !== null) await store.delete(old.name);
      }),
    count: (counted) => queue.run(() => write({ ...record, counted })),
    enter: (attempt) =>
      queue.run(async () => {
        const { entered } = record;
        if (entered.includes(attempt))
          throw new FedflatError("entered", "the secrets of this attempt are gone");
        await write({ ...record, entered: [attempt, ...entered].slice(0, KEPT_ATTEMPTS) });
      }),
    drop: (assignment) =>
      queue.run(async () => {
        const pending = without(assignment);
        if (pending.length === record.pending.length) return;
        await write({ ...record, pending });
        await store.delete(`update.${assignment}`);
        await store.delete(`state.${assignment}`);
      }),
    idle: queue.idle,
    reset: (counted) =>
      queue.run(async () => {
        const old = record.state;
        await write({ ...record, counted, state: null });
        if (old !== null) await store.delete(old.name);
      }),
  };
}
