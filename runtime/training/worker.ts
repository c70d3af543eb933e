import type { Dataset } from "../data/dataset.js";
import { release } from "../tensors/memory.js";
import { buffersOf, serveCalls, type CallUnderWay, type Port } from "../worker-rpc.js";
import type { Engine, Hooks } from "./engine.js";
import {
  cancelled,
  type JobControl,
  type JobOrder,
  type JobReport,
  type PostedPart,
  type TrainingCalls,
} from "./messages.js";
import { snapshotTimes } from "./snapshots.js";

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

type JobUnderWay = CallUnderWay<JobReport, JobOrder>;

/** Does the jobs that come through the port. `clock` (milliseconds) times snapshots. */
export function serveJobs(
  port: Port,
  startEngine: () => Promise<Engine>,
  clock = () => performance.now(),
): void {
  const datasets = new Map<number, Dataset>();
  const engine = startEngine();
  // The host posts a data set before the first job that names it.
  const whole = <J extends { readonly part: PostedPart }>({ part, ...job }: J) => ({
    ...job,
    part: { dataset: datasets.get(part.dataset)!, rows: part.rows },
  });

  async function work<R>(
    posted: JobControl,
    call: JobUnderWay,
    job: (engine: Engine, hooks: Hooks) => Promise<R>,
  ): Promise<R> {
    const hooks = hooksOf(posted, call, clock);
    try {
      return await job(await engine, hooks);
    } finally {
      // The job's vectors came by transfer and are nobody else's.
      for (const memory of buffersOf(posted)) release(memory);
    }
  }

  serveCalls<TrainingCalls, JobReport, JobOrder>(
    port,
    {
      train: (job, call) => work(job, call, (engine, hooks) => engine.train(whole(job), hooks)),
      evaluate: (job, call) =>
        work(job, call, (engine, hooks) => engine.evaluate(whole(job), hooks)),
      hessianProduct: (job, call) =>
        work(job, call, (engine, hooks) => engine.hessianProduct(whole(job), hooks)),
      predict: (job, call) => work(job, call, (engine, hooks) => engine.predict(job, hooks)),
      hold: async ({ id, content }) => void datasets.set(id, content),
      forget: async ({ id }) => void datasets.delete(id),
    },
    engine,
  );
}

/** What a job tells the host, and hears from it. */
function hooksOf({ flag, snapshots }: JobControl, call: JobUnderWay, clock: () => number): Hooks {
  let told = -Infinity;
  let abandoned = false;
  const times = snapshots ? snapshotTimes(clock) : undefined;
  call.onOrder = (order) => {
    if (order === "cancel") abandoned = true;
    else times?.kept(order.kept);
  };
  return {
    progress(progress) {
      const now = performance.now();
      const { batch, batches } = progress;
      if (now - told < PROGRESS_INTERVAL && batch > 1 && batch < batches) return;
      told = now;
      call.report({ progress });
    },
    snapshot(epochDone, take) {
      if (!times?.due(epochDone)) return;
      times.taken();
      call.report({ snapshot: take() });
    },
    async pause() {
      await nextTask();
      if (abandoned || (flag && Atomics.load(flag, 0) !== 0)) throw cancelled();
    },
  };
}
