import type { WorkerPort } from "../platform/platform.js";
import type { PredictJob, Trainer } from "../training/job.js";
import { trainerOf } from "../training/trainer.js";

/**
 * The client's two workers, each there only while it is needed, since a worker keeps the host's
 * process alive: one for assignments, and one for predictions while the other is at work.
 */
export interface Workers {
  /** Does the tasks of assignments. */
  trainer(): Trainer;
  /** As `Trainer.predict`, also while an assignment is under way. */
  predict(job: PredictJob): Promise<Float32Array>;
  /** Does work that is no assignment with the trainer of assignments, which stays for it. */
  tune<T>(work: (trainer: Trainer) => Promise<T>): Promise<T>;
  /** Whether the client takes part in a run, and whether it works on an assignment. */
  update(use: { readonly running?: boolean; readonly working?: boolean }): void;
  /** Ends the worker of assignments at once. */
  kill(): void;
}

/** @param own the host's trainer, which takes the place of both and is never closed */
export function workersOf(own: Trainer | undefined, start: () => WorkerPort): Workers {
  let tasks: Trainer | undefined;
  let aside: Trainer | undefined;
  let use = { running: false, working: false };
  /** Predictions and tunings under way, which the end of a run must not cut off. */
  let held = 0;
  let tuning = 0;
  const trainer = () => own ?? (tasks ??= trainerOf(start));
  const kill = () => {
    tasks?.close();
    tasks = undefined;
  };
  const free = () => {
    if (held > 0) return;
    if (!use.running) kill();
    if (use.working) return;
    aside?.close();
    aside = undefined;
  };
  async function hold<T>(work: Promise<T>): Promise<T> {
    held++;
    try {
      return await work;
    } finally {
      held--;
      free();
    }
  }
  return {
    trainer,
    tune(work) {
      tuning++;
      return hold(work(trainer()).finally(() => tuning--));
    },
    predict(job) {
      // While one of them is under way aside, the next waits for it there: answers keep the order
      // of their questions.
      const isAside = use.working || tuning > 0 || aside !== undefined;
      const worker = own ?? (isAside ? (aside ??= trainerOf(start)) : trainer());
      return hold(worker.predict(job));
    },
    update(change) {
      use = { ...use, ...change };
      free();
    },
    kill,
  };
}
