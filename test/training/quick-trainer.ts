import { Worker } from "node:worker_threads";
import type { WorkerPort } from "../../runtime/platform/platform.js";
import type { Trainer } from "../../runtime/training/job.js";
import { trainerOf } from "../../runtime/training/trainer.js";

/** A trainer of real workers, whose snapshots come a thousand times sooner (quick-worker.ts). */
export const quickTrainer = (): Trainer =>
  trainerOf(() => {
    const worker = new Worker(new URL("quick-worker.js", import.meta.url));
    const port: WorkerPort = {
      post: (message, transfer = []) => worker.postMessage(message, transfer),
      terminate: () => void worker.terminate(),
    };
    worker.on("message", (message) => port.onMessage?.(message));
    worker.on("exit", () => port.onExit?.("it has ended"));
    return port;
  });
