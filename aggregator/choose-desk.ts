import type { RunDefinition } from "./definition.js";
import { openDesk, type Desk } from "./desk.js";
import { openDeskInWorker } from "./desk-in-worker.js";
import type { Log } from "./log.js";
import { plain, wasmArithmetic } from "./strategies/arithmetic.js";

/** Blobs above this size are hashed, checked and folded in a worker. */
const WORKER_FROM = 128 * 1024;

/** The run's desk: behind a worker where its blobs are large, so that the event loop does not wait for them. */
export async function chooseDesk(
  {
    settings,
    algorithm,
    isOwn,
    layout,
    metadata,
    updateBytes,
  }: Omit<RunDefinition, "needs">,
  log: Log,
): Promise<Desk> {
  const { maxAbs, maxNorm, clipUpdateNorm } = settings;
  const deskSettings = {
    algorithm: algorithm.name,
    algorithmSettings: settings.algorithmSettings,
    layout,
    metadata,
    maxAbs,
    maxNorm: maxNorm || Infinity,
    clipUpdateNorm: clipUpdateNorm || Infinity,
  };
  // An algorithm of the caller's own is code, which cannot be sent to a worker.
  if (updateBytes > WORKER_FROM && !isOwn)
    return openDeskInWorker(deskSettings);
  const arithmetic = await wasmArithmetic().catch((error: unknown) => {
    log.warn({ err: error }, "folding without the WebAssembly kernels");
    return plain;
  });
  return openDesk(deskSettings, arithmetic, isOwn ? algorithm : undefined);
}
