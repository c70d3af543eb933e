import type { WorkerPort } from "../platform/platform.js";
import type { JobOptions, Trainer } from "./job.js";
import { cancelled } from "./messages.js";
import { sharedDatasets } from "./shared-data.js";
import { workerHandle, type JobWorker, type Ticket } from "./worker-handle.js";

/**
 * A trainer with its own workers, started when there is work and as often as they fail. Jobs wait
 * in one queue, and none depends on which worker does it. Where no worker can start, a job is
 * rejected with a ConfigError `worker-unusable`.
 */
export function trainerOf(startWorker: () => WorkerPort, workers = 1): Trainer {
  const waiting: Ticket[] = [];
  const datasets = sharedDatasets();
  const handles = Array.from({ length: workers }, () => workerHandle(startWorker, datasets));
  let closed = false;

  function assign(): void {
    for (const handle of handles) {
      if (handle.busy) continue;
      const ticket = waiting.shift();
      if (ticket === undefined) return;
      void handle.work(ticket).then(assign);
    }
  }

  function submit<Result>(
    options: JobOptions = {},
    job: (worker: JobWorker) => Promise<Result>,
  ): Promise<Result> {
    const { signal } = options;
    if (closed || signal?.aborted) return Promise.reject(cancelled());
    let drop: () => void;
    return new Promise<Result>((resolve, reject) => {
      const ticket: Ticket = {
        options,
        attempt: async (worker) => resolve(await job(worker)),
        reject,
      };
      drop = () => {
        const place = waiting.indexOf(ticket);
        if (place === -1) return;
        waiting.splice(place, 1);
        reject(cancelled());
      };
      signal?.addEventListener("abort", drop);
      waiting.push(ticket);
      assign();
    }).finally(() => signal?.removeEventListener("abort", drop));
  }

  return {
    train: (job, options) =>
      submit(options, ({ perform, partOf, control }) =>
        perform("train", { ...job, part: partOf(job.part), ...control }),
      ),
    evaluate: (job, options) =>
      submit(options, ({ perform, partOf, control }) =>
        perform("evaluate", { ...job, part: partOf(job.part), ...control }),
      ),
    hessianProduct: (job, options) =>
      submit(options, ({ perform, partOf, control }) =>
        perform("hessianProduct", { ...job, part: partOf(job.part), ...control }),
      ),
    predict: (job, options) =>
      submit(options, ({ perform, control }) => perform("predict", { ...job, ...control })),
    close() {
      closed = true;
      for (const ticket of waiting.splice(0)) ticket.reject(cancelled());
      for (const handle of handles) handle.close();
    },
  };
}
