import { ModelError } from "../../errors.js";
import type { Vector } from "../../tensors/layout.js";
import { requireSetting } from "../codec.js";

/**
 * k, how many of so many numbers a fraction keeps.
 * @throws ModelError `codec-settings` unless the fraction is above 0 and at most `most`.
 */
export function countOf(fraction: number, size: number, most: number): number {
  requireSetting(
    "fraction",
    fraction,
    fraction > 0 && fraction <= most,
    `more than 0 and at most ${most}`,
  );
  return Math.max(1, Math.ceil(fraction * size));
}

/** Places of the k largest keys, of which the mask's bits count, rising; of equal keys the first ones. */
export function largest(keys: Uint32Array, k: number, mask = 0xffffffff): Uint32Array {
  // The k-th largest key, 16 bits at a time, by counting.
  let above = 0;
  const digitOf = (counts: Uint32Array): number => {
    let digit = 65535;
    while (above + counts[digit] < k) above += counts[digit--];
    return digit;
  };
  const upper = new Uint32Array(65536);
  for (let i = 0; i < keys.length; i++) upper[(keys[i] & mask) >>> 16]++;
  const half = digitOf(upper);
  const lower = new Uint32Array(65536);
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i] & mask;
    if (key >>> 16 === half) lower[key & 0xffff]++;
  }
  const prefix = half * 65536 + digitOf(lower);
  let equal = k - above;
  const places = new Uint32Array(k);
  for (let i = 0, at = 0; at < k; i++) {
    const key = (keys[i] & mask) >>> 0;
    if (key > prefix || (key === prefix && equal-- > 0)) places[at++] = i;
  }
  return places;
}

/** Places of the k numbers of largest size, rising. */
export function largestOf(vector: Vector, k: number): Uint32Array {
  const bits = new Uint32Array(vector.buffer, vector.byteOffset, vector.length);
  // As whole numbers, sizes have the order that they have as floats.
  return largest(bits, k, 0x7fffffff);
}

/** Numbers whose places have the same upper 16 bits. */
const SPAN = 65536;
export const spansOf = (size: number): number => Math.ceil(size / SPAN);

/** Writes rising places: how many there are in each span, and where in it. */
export function writePlaces(places: Uint32Array, counts: Uint32Array, offsets: Uint16Array): void {
  places.forEach((place, i) => {
    counts[Math.floor(place / SPAN)]++;
    offsets[i] = place % SPAN;
  });
}

/** @throws ModelError `layout` for places that do not rise, or are none of the vector's. */
export function readPlaces(counts: Uint32Array, offsets: Uint16Array, size: number): Uint32Array {
  const refuse = (what: string) => {
    throw new ModelError("layout", what);
  };
  const k = offsets.length;
  const sum = counts.reduce((a, b) => a + b, 0);
  if (sum !== k) refuse(`"count" expected a sum of ${k}, got ${sum}`);
  const places = new Uint32Array(k);
  let i = 0;
  for (let span = 0; span < counts.length; span++)
    for (const end = i + counts[span]; i < end; i++) {
      places[i] = span * SPAN + offsets[i];
      if (places[i] >= size || (i > 0 && places[i] <= places[i - 1]))
        refuse(`"offset" expected rising places below ${size}, got ${places[i]}`);
    }
  return places;
}

/** The numbers at these places, end to end. */
export const gathered = (vector: Vector, places: Uint32Array): Vector =>
  Float32Array.from(places, (place) => vector[place]);

/** A vector of zeros but for these numbers at these places. */
export function scattered(size: number, places: Uint32Array, numbers: Vector): Vector {
  const vector = new Float32Array(size);
  for (let i = 0; i < places.length; i++) vector[places[i]] = numbers[i];
  return vector;
}
