import { ModelError } from "../../errors.js";
import type { Vector } from "../../tensors/layout.js";
import { requireSetting, type Blocks, type Decoding, type Encoding } from "../codec.js";
import { bitsOfScale, nearest, readScale, scaleOf } from "./scale.js";

/**
 * Where blocks of at most `block` numbers begin, and after the last one where it ends; 0 for one
 * block a piece. They begin again at every piece, of these sizes end to end.
 * @throws ModelError `codec-settings`
 */
export function blockEdges(sizes: readonly number[], block: number): Uint32Array {
  requireSetting("block", block, Number.isSafeInteger(block) && block >= 0, "0 or a whole number");
  const edges: number[] = [];
  let start = 0;
  for (const size of sizes) {
    for (let at = 0; at < size; at += block || size) edges.push(start + at);
    start += size;
  }
  return Uint32Array.from([...edges, start]);
}

/**
 * Rounds each number to a whole multiple, of at most 127 in size, of its block's scale: up or down
 * by chance, so that the mean of what comes of it is the number; or to the nearest one.
 */
export function toBytes(
  vector: Vector,
  edges: Uint32Array,
  scales: Uint16Array,
  bytes: Int8Array,
  { grid = 0, chance }: Encoding,
): void {
  for (let b = 0; b < scales.length; b++) {
    const end = edges[b + 1];
    let most = 0;
    for (let i = edges[b]; i < end; i++) {
      const size = Math.abs(vector[i]);
      if (size > most) most = size;
    }
    const scale = scaleOf(most / 127, grid, Math.ceil);
    scales[b] = bitsOfScale(scale);
    if (chance === undefined) {
      if (scale > 0) for (let i = edges[b]; i < end; i++) bytes[i] = nearest(vector[i] / scale);
    }
    // A number is drawn for each, so that what the others draw does not depend on the block.
    else if (scale === 0) for (let i = edges[b]; i < end; i++) chance();
    else for (let i = edges[b]; i < end; i++) bytes[i] = Math.floor(vector[i] / scale + chance());
  }
}

/**
 * The blocks, without making numbers of them.
 * @throws ModelError `layout` for a byte or a scale that `toBytes` does not write.
 */
export function readBlocks(
  edges: Uint32Array,
  halves: Uint16Array,
  bytes: Int8Array,
  { grid }: Decoding,
): Blocks {
  const scales = Float64Array.from(halves, (half) => readScale(half, grid));
  if (bytes.includes(-128))
    throw new ModelError("layout", `"value" expected -127 to 127, got -128`);
  return { bytes, edges, scales };
}

/** The numbers that blocks stand for. */
export function numbersOf({ bytes, edges, scales }: Blocks): Vector {
  const vector = new Float32Array(bytes.length);
  for (let b = 0; b < scales.length; b++) {
    const scale = scales[b];
    for (let i = edges[b]; i < edges[b + 1]; i++) vector[i] = bytes[i] * scale;
  }
  return vector;
}

/** The same of blocks that are still to be read. @throws ModelError as `readBlocks` */
export const fromBytes = (...blocks: Parameters<typeof readBlocks>): Vector =>
  numbersOf(readBlocks(...blocks));
