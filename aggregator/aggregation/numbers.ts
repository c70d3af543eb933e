import type { Blocks } from "../../runtime/codecs/codec.js";
import { numbersOf } from "../../runtime/codecs/parts/blocks.js";
import type { Vector } from "../../runtime/tensors/layout.js";
import type { Arithmetic } from "./arithmetic.js";

/**
 * The numbers of one vector of an update: as float32, or as the bytes in which they came, which a
 * mean adds up without making float32 of them.
 */
export type ArrivedVector = Vector | Blocks;

export const countOf = (numbers: ArrivedVector): number =>
  numbers instanceof Float32Array ? numbers.length : numbers.bytes.length;

export const asVector = (numbers: ArrivedVector): Vector =>
  numbers instanceof Float32Array ? numbers : numbersOf(numbers);

/** How many are not finite or larger than maxAbs in size. */
export function beyond(numbers: ArrivedVector, maxAbs: number, arithmetic: Arithmetic): number {
  if (!(numbers instanceof Float32Array) && numbers.scales.every((scale) => 127 * scale <= maxAbs))
    return 0;
  return arithmetic.outOfRange(asVector(numbers), maxAbs);
}

export const normOf = (numbers: ArrivedVector, arithmetic: Arithmetic): number =>
  Math.sqrt(
    numbers instanceof Float32Array
      ? arithmetic.squaredNorm(numbers)
      : arithmetic.squaredNormOfBlocks(numbers),
  );
