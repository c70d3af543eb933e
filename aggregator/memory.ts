import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/**
 * The garbage collector, for what it does not see: frames and models lie outside of the heap that
 * it measures, and it looks for what can be freed there only when 64 MB have come together, in a
 * full collection that stops the event loop for as long as it takes to look at everything. Node has
 * no other way to ask for a collection while it runs.
 */
function collector(): (kind?: { readonly type: "minor" }) => void {
  setFlagsFromString("--expose-gc");
  const collect: unknown = runInNewContext("gc");
  setFlagsFromString("--no-expose-gc");
  return typeof collect === "function" ? (kind) => collect(kind) : () => {};
}

const collect = collector();

/** All that nobody holds any more. */
export const collectAll = (): void => collect();

/**
 * Lets the part of the heap in which everything begins stay as small as it is, 2 MB at first, where
 * it would grow to 33 MB in the first rush and stay so. It holds for the whole process, so it is
 * for one that is an aggregator and little else, and every new worker undoes it.
 */
export const keepYoungSmall = (): void => setFlagsFromString("--semi-space-growth-factor=1");

/** Bytes of frames between two collections of what is young, a fraction of a millisecond each. */
const FRAMES = 2 * 1024 * 1024;
let frames = 0;

/** A frame of so many bytes is done with. */
export function frameDone(bytes: number): void {
  frames += bytes;
  if (frames < FRAMES) return;
  frames = 0;
  collect({ type: "minor" });
}
