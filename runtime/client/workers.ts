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
  /** Predictions under way, which the end of a run must not cut off. */
  let predicting = 0;
  const trainer = () => own ?? (tasks ??= trainerOf(start));
  const kill = () => {
    tasks?.close();
    tasks = undefined;
  };
  const free = () => {
    if (predicting > 0) return;
    if (!use.running) kill();
    if (use.working) return;
    aside?.close();
    aside = undefined;
  };
  return {
    trainer,
    async predict(job) {
      // While one of them is under way aside, the next waits for it there: answers keep the order
      // of their questions.
      const isAside = use.working || aside !== undefined;
      const worker = own ?? (isAside ? (aside ??= trainerOf(start)) : trainer());
      predicting++;
      try {
        return await worker.predict(job);
      } finally {
        predicting--;
        free();
      }
    },
    update(change) {
      use = { ...use, ...change };
      free();
    },
    kill,
  };
}
