/**
 * Pairs of places, end to end: where each is put in order (the smaller first), one after the other,
 * all are sorted, whatever they were. Batcher's odd-even merge sort (Knuth, The Art of Computer
 * Programming 3, 5.2.2, algorithm M): about n log^2 n / 4 pairs.
 */
export function sortingNetwork(count: number): Uint32Array {
  const pairs: number[] = [];
  for (let p = 1; p < count; p *= 2)
    for (let k = p; k >= 1; k /= 2)
      for (let j = k % p; j + k < count; j += 2 * k)
        for (let i = j; i < j + k && i + k < count; i++)
          if (Math.floor(i / (2 * p)) === Math.floor((i + k) / (2 * p))) pairs.push(i, i + k);
  return Uint32Array.from(pairs);
}
