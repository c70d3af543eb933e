import { Worker } from "node:worker_threads";
import type { FleetOptions, RunningFleet } from "./fleet.js";
import { append, newRecording, type Recording } from "./recording.js";

/**
 * A fleet on a thread of its own; its recording is a copy, as it was at most a quarter of a second
 * ago.
 */
export function startFleetInWorker(options: FleetOptions): RunningFleet {
  const worker = new Worker(new URL("./fleet-worker.js", import.meta.url), {
    workerData: options,
  });
  let recording = newRecording();
  worker.on("message", (told: Recording) => {
    append(recording.samples, told.samples);
    recording = { ...told, samples: recording.samples };
  });
  worker.on("error", ({ message }) => {
    recording.errors[`a worker ended: ${message}`] = 1;
  });
  const done = new Promise<void>((resolve) => worker.on("exit", () => resolve()));
  return {
    get recording() {
      return recording;
    },
    done,
    stop: () => worker.postMessage("stop"),
  };
}
