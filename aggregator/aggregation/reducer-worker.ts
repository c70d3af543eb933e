import { parentPort, workerData } from "node:worker_threads";
import { openDesk, type DeskSettings } from "./reducer.js";
import type { DeskAnswer, DeskCall } from "./reducer-in-worker.js";
import type { Checkpoint } from "../storage/ledger.js";
import { wasmArithmetic } from "./arithmetic.js";

// The worker of desk-in-worker.ts: does one call after the other, in the order in which they were
// made.

const port = parentPort!;
const desk = openDesk(workerData as DeskSettings, await wasmArithmetic());
let queue: Promise<void> = Promise.resolve();

port.on("message", ({ id, method, args }: DeskCall) => {
  queue = queue.then(async () => {
    const answer: DeskAnswer = { id };
    try {
      // The names and arguments were put together from the type of Desk at the other end.
      const work = desk[method] as (...args: unknown[]) => Promise<unknown>;
      answer.result = await work(...args);
    } catch (error) {
      answer.error = error instanceof Error ? error.message : String(error);
    }
    port.postMessage(answer, buffersOf(answer.result));
  });
});
port.postMessage({ id: 0, result: desk.build } satisfies DeskAnswer);

/** The buffers of a checkpoint's blobs, which are given away rather than copied. */
function buffersOf(result: unknown): ArrayBuffer[] {
  if (typeof result !== "object" || result === null || !("model" in result)) return [];
  const { model, state } = result as Checkpoint;
  return [model, state].map(({ bytes }) => bytes.buffer as ArrayBuffer);
}
