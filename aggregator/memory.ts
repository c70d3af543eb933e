import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/**
 * Runs the garbage collector for memory that it does not see: frames and models lie outside the
 * heap that it measures. By itself it frees them only after 64 MB, in a full collection that stops
 * the event loop. Node has no other way to ask for a collection while it runs.
 */
function collector(): (kind?: { readonly type: "minor" }) => void {
  setFlagsFromString("--expose-gc");
  const collect: unknown = runInNewContext("gc");
  setFlagsFromString("--no-expose-gc");
  return typeof collect === "function" ? (kind) => collect(kind) : () => {};
}

const collect = collector();

/** Runs a full garbage collection. */
export const collectAll = (): void => collect();

/**
 * Stops V8 from growing its young generation, which begins with 2 MB and would keep the 33 MB of
 * the first burst. It holds for the whole process, so it is for one that is an aggregator and
 * little else; every new worker undoes it.
 */
export const keepYoungSmall = (): void => setFlagsFromString("--semi-space-growth-factor=1");

/** Bytes of frames between two collections of the young generation, which take under 1 ms each. */
const FRAMES = 2 * 1024 * 1024;
let frames = 0;

/** Tells that a frame of so many bytes is no longer used. */
export function frameDone(bytes: number): void {
  frames += bytes;
  if (frames < FRAMES) return;
  frames = 0;
  collect({ type: "minor" });
}
