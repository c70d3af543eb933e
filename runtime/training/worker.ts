import { FedflatError } from "../errors.js";
import { release } from "../tensors/memory.js";
import type { Dataset } from "../data/dataset.js";
import type { Engine, Hooks } from "./engine.js";
import { snapshotTimes, type SnapshotTimes } from "./snapshots.js";
import {
  buffersOf,
  ownMemory,
  cancelled,
  postedError,
  type FromWorker,
  type PostedJob,
  type ToWorker,
} from "./messages.js";

/** The worker's side of its port to the host. */
export interface HostPort {
  post(message: unknown, transfer?: readonly ArrayBuffer[]): void;
  onMessage?: (message: unknown) => void;
}

/** Shortest time between two progress messages, in milliseconds. */
const PROGRESS_INTERVAL = 100;

/**
 * Ends the macrotask, so that messages get in and out: a loop that awaits only promises would never
 * see a cancel. Node's setImmediate is the quickest way; a browser has a message to itself.
 */
const nextTask: () => Promise<void> = (() => {
  const { setImmediate } = globalThis as {
    setImmediate?: (callback: () => void) => void;
  };
  if (setImmediate !== undefined)
    return () => new Promise<void>((resolve) => setImmediate(resolve));
  const { port1, port2 } = new MessageChannel();
  return () =>
    new Promise<void>((resolve) => {
      port1.onmessage = () => resolve();
      port2.postMessage(null);
    });
})();

/**
 * Does the jobs that come through the port, one at a time. An error that is none of ours (a trap,
 * no memory left) is told as `fatal`: the host then ends this worker. `clock` (milliseconds) times
 * snapshots.
 */
export function serveJobs(
  port: HostPort,
  startEngine: () => Promise<Engine>,
  clock = () => performance.now(),
): void {
  const datasets = new Map<number, Dataset>();
  const abandoned = new Set<number>();
  const snapshots = new Map<number, SnapshotTimes>();
  const tell = (message: FromWorker, transfer?: readonly ArrayBuffer[]) =>
    port.post(message, transfer);
  const engine = startEngine();
  engine.then(
    () => tell({ type: "ready" }),
    (error: unknown) => tell({ type: "error", error: postedError(error, "start"), fatal: true }),
  );

  async function work({
    id,
    posted,
    flag,
    snapshots: wanted,
  }: Extract<ToWorker, { type: "job" }>): Promise<void> {
    let told = -Infinity;
    if (wanted) snapshots.set(id, snapshotTimes(clock));
    const hooks: Hooks = {
      progress(progress) {
        const now = performance.now();
        const { batch, batches } = progress;
        if (now - told < PROGRESS_INTERVAL && batch > 1 && batch < batches) return;
        told = now;
        tell({ type: "progress", id, progress });
      },
      snapshot(epochDone, take) {
        const times = snapshots.get(id);
        if (!times?.due(epochDone)) return;
        times.taken();
        const snapshot = take();
        tell({ type: "snapshot", id, snapshot }, buffersOf(snapshot));
      },
      async pause() {
        await nextTask();
        if (abandoned.has(id) || (flag && Atomics.load(flag, 0) !== 0)) throw cancelled();
      },
    };
    try {
      const result = await perform(await engine, posted, hooks);
      tell({ type: "done", id, result }, buffersOf(result));
    } catch (error) {
      const fatal = !(error instanceof FedflatError);
      tell({ type: "error", id, error: postedError(error), fatal });
    } finally {
      abandoned.delete(id);
      snapshots.delete(id);
      // The job's vectors came by transfer and are nobody else's.
      for (const memory of ownMemory(posted)) release(memory);
    }
  }

  function perform(engine: Engine, { kind, job, part }: PostedJob, hooks: Hooks): Promise<unknown> {
    // The host posts a data set before the first job that names it.
    const dataset = part && datasets.get(part.dataset);
    const whole = { ...job, ...(part && { part: { ...part, dataset } }) };
    // What was posted is what the host's trainer took, with types, from its caller.
    const does = engine[kind] as (job: object, hooks: Hooks) => Promise<unknown>;
    return does(whole, hooks);
  }

  port.onMessage = (received) => {
    const message = received as ToWorker;
    if (message.type === "data") datasets.set(message.dataset, message.content);
    if (message.type === "forget") datasets.delete(message.dataset);
    if (message.type === "cancel") abandoned.add(message.id);
    if (message.type === "kept") snapshots.get(message.id)?.kept(message.cost);
    if (message.type === "job") void work(message);
  };
}
