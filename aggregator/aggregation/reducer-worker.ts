import { parentPort, workerData } from "node:worker_threads";
import { serial } from "../../runtime/serial.js";
import { openReducer, type ReducerSettings } from "./reducer.js";
import type { ReducerAnswer, ReducerCall } from "./reducer-in-worker.js";
import type { Checkpoint } from "../storage/ledger.js";
import { wasmArithmetic } from "./arithmetic.js";

// The worker of reducer-in-worker.ts: handles one call after the other, in the order in which they
// were made.

const port = parentPort!;
const reducer = openReducer(workerData as ReducerSettings, await wasmArithmetic());
const queue = serial();

port.on("message", ({ id, method, args }: ReducerCall) => {
  void queue.run(async () => {
    const answer: ReducerAnswer = { id };
    try {
      // The names and arguments were put together from the type of Reducer at the other end.
      const work = reducer[method] as (...args: unknown[]) => Promise<unknown>;
      answer.result = await work(...args);
    } catch (error) {
      answer.error = error instanceof Error ? error.message : String(error);
    }
    port.postMessage(answer, buffersOf(answer.result));
  });
});
port.postMessage({ id: 0, result: reducer.build } satisfies ReducerAnswer);

/** The buffers of a checkpoint's blobs, which are given away rather than copied. */
function buffersOf(result: unknown): ArrayBuffer[] {
  if (typeof result !== "object" || result === null || !("model" in result)) return [];
  const { model, state } = result as Checkpoint;
  return [model, state].map(({ bytes }) => bytes.buffer as ArrayBuffer);
}
