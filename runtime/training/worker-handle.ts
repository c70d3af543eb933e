import type { Part } from "../data/dataset.js";
import { ConfigError, FedflatError } from "../errors.js";
import type { WorkerPort } from "../platform/platform.js";
import { callsTo, errorFrom, movable, type Calls } from "../worker-rpc.js";
import type { JobOptions } from "./job.js";
import {
  cancelled,
  type JobControl,
  type JobOrder,
  type JobReport,
  type PostedPart,
  type TrainingCalls,
} from "./messages.js";
import type { SharedDatasets } from "./shared-data.js";

/**
 * Wait before the first restart of a worker after a failure, doubled with each failure in a row, in
 * milliseconds.
 */
const FIRST_WAIT = 100;
const LONGEST_WAIT = 30_000;

/** Workers in a row that may end before they were ready, until it is said that none can start. */
const MOST_STARTS = 5;

/** Data sets that a worker keeps at hand: what it trains on, what it tests on. */
const KEPT_DATASETS = 2;

/** A job that waits for its turn or is at work. */
export interface Ticket {
  readonly options: JobOptions;
  /** Has the job done, and settles it. Rejects with what is wrong with the job or the worker. */
  attempt(worker: JobWorker): Promise<void>;
  reject(error: unknown): void;
}

/** A worker, for one job. */
export interface JobWorker {
  readonly control: JobControl;
  /** Names a part, after making sure that the worker has its data set. */
  partOf(part: Part): PostedPart;
  perform<M extends keyof TrainingCalls>(
    method: M,
    job: TrainingCalls[M]["takes"],
  ): Promise<TrainingCalls[M]["gives"]>;
}

/** One worker after another, each doing one job at a time. */
export interface WorkerHandle {
  readonly busy: boolean;
  /** Resolves when the handle is free again, whatever became of the job. */
  work(ticket: Ticket): Promise<void>;
  /** Ends the worker at once. */
  close(): void;
}

interface Started {
  readonly port: WorkerPort;
  readonly calls: Calls<TrainingCalls, JobReport, JobOrder>;
  /** Ids of the data sets that it has, the newest last. */
  has: number[];
  ready: boolean;
}

export function workerHandle(
  startWorker: () => WorkerPort,
  datasets: SharedDatasets,
): WorkerHandle {
  let worker: Started | undefined;
  let failures = 0;
  /** Workers in a row that were never ready. */
  let stillborn = 0;
  let busy = false;
  let closed = false;
  /** Ends the wait before the next start. */
  let wake: (() => void) | undefined;

  /** Ends the worker, and its job with this error; the next job gets a fresh one. */
  function discard(error: FedflatError): void {
    if (worker === undefined) return;
    const { port, calls } = worker;
    worker = undefined;
    port.onMessage = undefined;
    port.onExit = undefined;
    port.terminate();
    calls.end(error);
  }

  function failed(error: FedflatError): void {
    failures++;
    if (worker?.ready !== true) stillborn++;
    discard(error);
  }

  /** Waits as long as the failures before ask for, unless a worker is there. */
  async function pause(): Promise<void> {
    if (worker !== undefined || failures === 0) return;
    const wait = Math.min(FIRST_WAIT * 2 ** (failures - 1), LONGEST_WAIT);
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, wait);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Has the job done by a worker that starts, or by the next. */
  async function settle(ticket: Ticket, job: UnderWay): Promise<void> {
    const isOver = () => closed || ticket.options.signal?.aborted;
    while (true) {
      await pause();
      if (isOver()) throw cancelled();
      let own: Started | undefined;
      try {
        own = worker ??= started(startWorker, failed, () => (stillborn = 0));
        if (isOver()) throw cancelled();
        await ticket.attempt(jobWorker(own, datasets, ticket.options, job));
        failures = 0;
        return;
      } catch (error) {
        const isOurs = error instanceof FedflatError;
        const [label, expected] = own ? ["job", "reach its worker"] : ["worker", "start"];
        const failure = isOurs ? error : unlike(label, expected, String(error));
        const lives = own !== undefined && own === worker;
        if (own === undefined || (lives && !isOurs)) failed(failure);
        else if (lives && own?.ready) failures = 0;
        if (lives || closed || own?.ready) throw failure;
        if (stillborn >= MOST_STARTS)
          throw new ConfigError(
            "worker-unusable",
            `${failure.message} (the last of ${stillborn} attempts)`,
            { cause: failure },
          );
      }
    }
  }

  return {
    get busy() {
      return busy;
    },
    async work(ticket) {
      const { signal } = ticket.options;
      const flag =
        typeof SharedArrayBuffer === "undefined"
          ? undefined
          : new Int32Array(new SharedArrayBuffer(4));
      const job: UnderWay = { flag };
      const cancel = () => {
        if (flag !== undefined) Atomics.store(flag, 0, 1);
        job.order?.("cancel");
        wake?.();
      };
      signal?.addEventListener("abort", cancel, { once: true });
      busy = true;
      try {
        await settle(ticket, job);
      } catch (error) {
        ticket.reject(error);
      } finally {
        busy = false;
        signal?.removeEventListener("abort", cancel);
      }
    },
    close() {
      closed = true;
      discard(cancelled());
      wake?.();
    },
  };
}

/** A worker from its start on. @throws whatever `startWorker` throws */
function started(
  startWorker: () => WorkerPort,
  failed: (error: FedflatError) => void,
  ready: () => void,
): Started {
  const port = startWorker();
  const calls = callsTo<TrainingCalls, JobReport, JobOrder>(port, {
    ready() {
      worker.ready = true;
      ready();
    },
    fatal: (error, starting) => failed(errorFrom(error, starting ? "start" : undefined)),
    errorFrom,
  });
  const worker: Started = { port, calls, has: [], ready: false };
  port.onExit = (reason) =>
    failed(
      worker.ready
        ? unlike("worker", "finish its job", `its end: ${reason}`)
        : unlike("worker", "start", reason),
    );
  return worker;
}

/** A job at work. */
interface UnderWay {
  readonly flag: Int32Array | undefined;
  /** Gives an order about it, once it is posted. */
  order?: (order: JobOrder) => void;
}

function jobWorker(
  worker: Started,
  datasets: SharedDatasets,
  { onProgress, onSnapshot }: JobOptions,
  job: UnderWay,
): JobWorker {
  const { calls } = worker;
  // No job would fail by these: a worker that cannot take them ends.
  const inform = ({ result }: { result: Promise<void> }) => void result.catch(() => {});
  return {
    control: { flag: job.flag, snapshots: onSnapshot !== undefined },
    partOf({ dataset, rows }) {
      const { id, content } = datasets(dataset);
      if (!worker.has.includes(id)) inform(calls.call("hold", { id, content }));
      worker.has = [...worker.has.filter((other) => other !== id), id];
      for (const old of worker.has.splice(0, worker.has.length - KEPT_DATASETS))
        inform(calls.call("forget", { id: old }));
      return { dataset: id, rows };
    },
    perform(method, given) {
      const { message, transfer } = movable(given);
      const { result, order } = calls.call(method, message, {
        transfer,
        async onReport(report) {
          if ("progress" in report) return onProgress?.(report.progress);
          // The time that keeping the snapshot took decides when the next one is due.
          const began = performance.now();
          await onSnapshot?.(report.snapshot);
          order({ kept: performance.now() - began });
        },
      });
      job.order = order;
      return result;
    },
  };
}

const unlike = (label: string, expected: string, got: string) =>
  new FedflatError("failed", `"${label}" expected to ${expected}, got ${got}`);
