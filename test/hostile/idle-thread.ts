import { once } from "node:events";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { fileURLToPath } from "node:url";
import { Worker, isMainThread, parentPort } from "node:worker_threads";

/**
 * A thread that does nothing but watch its own event loop. What it lags by is the machine's doing,
 * not the aggregator's: printed beside the aggregator's lag, it tells a slow aggregator from a busy
 * machine.
 */
export interface IdleThread {
  /** Milliseconds, the 99th percentile since the last time it was asked. */
  lag(): Promise<number>;
  end(): void;
}

export function idleThread(): IdleThread {
  const worker = new Worker(fileURLToPath(import.meta.url));
  return {
    async lag() {
      worker.postMessage("lag");
      const [lag] = (await once(worker, "message")) as [number];
      return lag;
    },
    end: () => void worker.terminate(),
  };
}

if (!isMainThread) {
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  parentPort!.on("message", () => {
    parentPort!.postMessage(delay.percentile(99) / 1e6);
    delay.reset();
  });
}
