import type { Dataset } from "../data/dataset.js";
import { ConfigError, FedflatError } from "../errors.js";
import type { WorkerPort } from "../platform/platform.js";
import type { JobOptions, Trainer } from "./job.js";
import {
  cancelled,
  errorFrom,
  movable,
  type FromWorker,
  type Job,
  type Jobs,
  type PostedJob,
  type ToWorker,
} from "./messages.js";

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
interface Ticket {
  readonly job: Job;
  readonly options: JobOptions;
  resolve(result: unknown): void;
  reject(error: FedflatError): void;
}

/**
 * A trainer with its own workers, started when there is work and as often as they fail. Jobs wait
 * in one queue, and none depends on which worker does it. Where no worker can start, a job is
 * rejected with a ConfigError `worker-unusable`.
 */
export function trainerOf(startWorker: () => WorkerPort, workers = 1): Trainer {
  const waiting: Ticket[] = [];
  const shelf = datasetShelf();
  const lanes = Array.from({ length: workers }, () => lane(startWorker, shelf));
  let closed = false;

  function assign(): void {
    for (const one of lanes) {
      if (one.busy()) continue;
      const ticket = waiting.shift();
      if (ticket === undefined) return;
      void one.work(ticket).then(assign);
    }
  }

  function submit<Kind extends keyof Jobs>(
    kind: Kind,
    job: Jobs[Kind]["job"],
    options: JobOptions = {},
  ): Promise<Jobs[Kind]["result"]> {
    const { signal } = options;
    if (closed || signal?.aborted) return Promise.reject(cancelled());
    return new Promise((resolve, reject) => {
      const drop = () => {
        const place = waiting.indexOf(ticket);
        if (place === -1) return;
        waiting.splice(place, 1);
        ticket.reject(cancelled());
      };
      const done =
        <T>(settle: (value: T) => void) =>
        (value: T) => {
          signal?.removeEventListener("abort", drop);
          settle(value);
        };
      const ticket: Ticket = {
        job: { kind, job } as Job,
        options,
        // The worker answers each kind of job with that kind's result.
        resolve: done(resolve as (result: unknown) => void),
        reject: done(reject),
      };
      signal?.addEventListener("abort", drop);
      waiting.push(ticket);
      assign();
    });
  }

  return {
    train: (job, options) => submit("train", job, options),
    evaluate: (job, options) => submit("evaluate", job, options),
    hessianProduct: (job, options) => submit("hessianProduct", job, options),
    predict: (job, options) => submit("predict", job, options),
    close() {
      closed = true;
      for (const ticket of waiting.splice(0)) ticket.reject(cancelled());
      for (const one of lanes) one.close();
    },
  };
}

/**
 * Numbers data sets, and holds each one's shared copy for as long as the caller holds the data set.
 */
function datasetShelf() {
  const known = new WeakMap<Dataset, { id: number; content: Dataset }>();
  let next = 1;
  return (dataset: Dataset) => {
    const found = known.get(dataset);
    if (found !== undefined) return found;
    const entry = { id: next++, content: shared(dataset) };
    known.set(dataset, entry);
    return entry;
  };
}
type Shelf = ReturnType<typeof datasetShelf>;

/**
 * The data set on memory that all workers can see, where the engine has such memory; else the data
 * set itself.
 */
function shared({ inputs, labels, ...rest }: Dataset): Dataset {
  if (typeof SharedArrayBuffer === "undefined") return { inputs, labels, ...rest };
  const share = <T extends Dataset["inputs"] | Int32Array>(
    array: T,
    Kind: new (buffer: SharedArrayBuffer) => T,
  ): T => {
    if (array.buffer instanceof SharedArrayBuffer) return array;
    const copy = new Kind(new SharedArrayBuffer(array.byteLength));
    copy.set(array);
    return copy;
  };
  return {
    ...rest,
    inputs:
      inputs instanceof Uint8Array
        ? share<Uint8Array>(inputs, Uint8Array)
        : share<Float32Array>(inputs, Float32Array),
    labels: share<Int32Array>(labels, Int32Array),
  };
}

/** One worker after another, each doing one job at a time. */
function lane(startWorker: () => WorkerPort, shelf: Shelf) {
  let port: WorkerPort | undefined;
  /** Ids of the data sets that the worker has, the newest last. */
  let has: number[] = [];
  let failures = 0;
  /** Workers in a row that were never ready. */
  let stillborn = 0;
  let ready = false;
  let nextId = 1;
  let current: { id: number; ticket: Ticket; flag?: Int32Array } | undefined;
  let finish: (() => void) | undefined;

  const post = (message: ToWorker, transfer?: ArrayBuffer[]) => port?.post(message, transfer);

  /** Ends the worker; the next job gets a fresh one. */
  function discard(): void {
    const old = port;
    port = undefined;
    ready = false;
    has = [];
    if (old === undefined) return;
    old.onMessage = undefined;
    old.onExit = undefined;
    old.terminate();
  }

  function settle(act: (ticket: Ticket) => void): void {
    const settled = current;
    current = undefined;
    if (settled !== undefined) act(settled.ticket);
    finish?.();
  }

  /** Ends the worker, and the job with this error. */
  function fail(error: FedflatError): void {
    failures++;
    discard();
    settle(({ reject }) => reject(error));
  }

  /**
   * The worker has ended. One that was ready fails its job; where it could not start, the job waits
   * for another, until enough have been tried.
   */
  function ended(error: FedflatError): void {
    if (ready) return fail(error);
    stillborn++;
    if (stillborn >= MOST_STARTS)
      return fail(
        new ConfigError("worker-unusable", `${error.message} (the last of ${stillborn} attempts)`, {
          cause: error,
        }),
      );
    failures++;
    discard();
    if (current !== undefined) beginLater(current.id);
  }

  function receive(message: FromWorker): void {
    if (message.type === "error" && message.fatal) return ended(errorFrom(message.error));
    if (message.type === "ready") {
      ready = true;
      stillborn = 0;
      return;
    }
    if (current === undefined || message.id !== current.id) return;
    if (message.type === "progress") return current.ticket.options.onProgress?.(message.progress);
    if (message.type === "snapshot") return void keep(message);
    failures = 0;
    settle(({ resolve, reject }) =>
      message.type === "done" ? resolve(message.result) : reject(errorFrom(message.error)),
    );
  }

  /** Hands a snapshot out, and tells the worker what it cost to keep it. */
  async function keep({ id, snapshot }: Extract<FromWorker, { type: "snapshot" }>): Promise<void> {
    const began = performance.now();
    await current?.ticket.options.onSnapshot?.(snapshot);
    post({ type: "kept", id, cost: performance.now() - began });
  }

  function start(): void {
    try {
      const started = startWorker();
      port = started;
      started.onMessage = (message) => {
        if (port === started) receive(message as FromWorker);
      };
      started.onExit = (reason) => {
        if (port === started)
          ended(
            new FedflatError(
              "failed",
              ready
                ? `"worker" expected to finish its job, got its end: ${reason}`
                : `"worker" expected to start, got ${reason}`,
            ),
          );
      };
    } catch (error) {
      ended(
        error instanceof FedflatError
          ? error
          : new FedflatError("failed", `"worker" expected to start, got ${String(error)}`),
      );
    }
  }

  /** The job with its data set named, after making sure that the worker has it. */
  function posted({ kind, job }: Job): PostedJob {
    if (!("part" in job)) return { kind, job };
    const { part, ...rest } = job;
    const { id, content } = shelf(part.dataset);
    if (!has.includes(id)) post({ type: "data", dataset: id, content });
    has = [...has.filter((other) => other !== id), id];
    for (const old of has.splice(0, has.length - KEPT_DATASETS))
      post({ type: "forget", dataset: old });
    return { kind, job: rest, part: { dataset: id, rows: part.rows } };
  }

  /** Hands the job over as soon as the failures before allow. */
  function beginLater(id: number): void {
    const wait =
      port !== undefined || failures === 0
        ? 0
        : Math.min(FIRST_WAIT * 2 ** (failures - 1), LONGEST_WAIT);
    if (wait === 0) begin(id);
    else setTimeout(begin, wait, id);
  }

  /** Hands the job over, unless it has been cancelled or its worker did not start. */
  function begin(id: number): void {
    if (current?.id !== id) return;
    if (current.ticket.options.signal?.aborted) return settle(({ reject }) => reject(cancelled()));
    if (port === undefined) start();
    if (current?.id !== id || port === undefined) return;
    const { ticket, flag } = current;
    try {
      const { message, transfer } = movable(posted(ticket.job));
      const snapshots = ticket.options.onSnapshot !== undefined;
      post({ type: "job", id, posted: message, flag, snapshots }, transfer);
    } catch (error) {
      fail(new FedflatError("failed", `"job" expected to reach its worker, got ${String(error)}`));
    }
  }

  return {
    busy: () => current !== undefined,

    /** Resolves when the lane is free again, whatever became of the job. */
    work(ticket: Ticket): Promise<void> {
      const id = nextId++;
      const flag =
        typeof SharedArrayBuffer === "undefined"
          ? undefined
          : new Int32Array(new SharedArrayBuffer(4));
      current = { id, ticket, flag };
      const { signal } = ticket.options;
      const cancel = () => {
        if (flag !== undefined) Atomics.store(flag, 0, 1);
        if (port !== undefined) post({ type: "cancel", id });
        else settle(({ reject }) => reject(cancelled()));
      };
      signal?.addEventListener("abort", cancel, { once: true });
      return new Promise<void>((resolve) => {
        finish = () => {
          signal?.removeEventListener("abort", cancel);
          finish = undefined;
          resolve();
        };
        beginLater(id);
      });
    },

    close(): void {
      discard();
      settle(({ reject }) => reject(cancelled()));
    },
  };
}
