import { foldInt8 } from "../kernels/fold";
import { high, low, sum2 } from "../lanes/lanes";

// The loops of the aggregation rules, a module of its own: no device needs them. Each gives the
// bits of its plain form in aggregator/aggregation/arithmetic.ts, so they add in the same order.

// sum[i] += (factor (x[i] - centre[i]) + C) - C: as foldFloat32 of kernels/fold.ts, but of what
// lies between an update and a centre. sum, centre: float64 [size], x: float32 [size].
export function foldCentred(sum: usize, x: usize, centre: usize, size: i32, factor: f64, c: f64): void {
  const factor2 = f64x2.splat(factor);
  const c2 = f64x2.splat(c);
  const end = x + (<usize>size << 2);
  for (; x + 16 <= end; x += 16, centre += 32, sum += 32) {
    const v = v128.load(x);
    const a = f64x2.mul(factor2, f64x2.sub(low(v), v128.load(centre)));
    const b = f64x2.mul(factor2, f64x2.sub(high(v), v128.load(centre, 16)));
    v128.store(sum, f64x2.add(v128.load(sum), f64x2.sub(f64x2.add(a, c2), c2)));
    v128.store(sum, f64x2.add(v128.load(sum, 16), f64x2.sub(f64x2.add(b, c2), c2)), 16);
  }
  for (; x < end; x += 4, centre += 8, sum += 8)
    store<f64>(sum, load<f64>(sum) + (factor * (<f64>load<f32>(x) - load<f64>(centre)) + c - c));
}

// Bytes in blocks, each with its scale. bytes: int8, block after block; sizes: int32 [count]; scales:
// float64 [count].

// sum[i] += (weight scale bytes[i] + C) - C
export function foldBlocks(
  sum: usize, bytes: usize, sizes: usize, scales: usize, count: i32, weight: f64, c: f64,
): void {
  for (const end = sizes + (<usize>count << 2); sizes < end; sizes += 4, scales += 8) {
    const size = load<i32>(sizes);
    foldInt8(sum, bytes, size, weight * load<f64>(scales), c);
    sum += <usize>size << 3;
    bytes += <usize>size;
  }
}

// The sum of (scale bytes[i])^2, that of each block's whole numbers exact.
export function squaredNormOfBlocks(bytes: usize, sizes: usize, scales: usize, count: i32): f64 {
  let sum = 0.0;
  for (const last = sizes + (<usize>count << 2); sizes < last; sizes += 4, scales += 8) {
    const end = bytes + <usize>load<i32>(sizes);
    let squares = i32x4.splat(0);
    for (; bytes + 8 <= end; bytes += 8) {
      const words = v128.load8x8_s(bytes);
      squares = i32x4.add(squares, i32x4.dot_i16x8_s(words, words));
    }
    let whole: i64 = 0;
    for (; bytes < end; bytes++) {
      const x = <i64>load<i8>(bytes);
      whole += x * x;
    }
    whole += <i64>i32x4.extract_lane(squares, 0) + i32x4.extract_lane(squares, 1);
    whole += <i64>i32x4.extract_lane(squares, 2) + i32x4.extract_lane(squares, 3);
    const scale = load<f64>(scales);
    sum += scale * scale * <f64>whole;
  }
  return sum;
}

// out[0] = |x|^2, out[1] = |x - centre|^2. The second sum costs little, as additions of the first one
// wait for each other.
export function squaredLengths(x: usize, centre: usize, size: i32, out: usize): void {
  const end = x + (<usize>size << 2);
  let n0 = f64x2.splat(0), n1 = n0, d0 = n0, d1 = n0;
  for (; x + 16 <= end; x += 16, centre += 32) {
    const v = v128.load(x);
    const a = low(v);
    const b = high(v);
    n0 = f64x2.add(n0, f64x2.mul(a, a));
    n1 = f64x2.add(n1, f64x2.mul(b, b));
    const c = f64x2.sub(a, v128.load(centre));
    const d = f64x2.sub(b, v128.load(centre, 16));
    d0 = f64x2.add(d0, f64x2.mul(c, c));
    d1 = f64x2.add(d1, f64x2.mul(d, d));
  }
  let norm = sum2(f64x2.add(n0, n1));
  let distance = sum2(f64x2.add(d0, d1));
  for (; x < end; x += 4, centre += 8) {
    const a = <f64>load<f32>(x);
    const d = a - load<f64>(centre);
    norm += a * a;
    distance += d * d;
  }
  store<f64>(out, norm);
  store<f64>(out, distance, 8);
}

// Coordinates that are compared at a time: 20 rows of them stay in the nearest cache.
const BLOCK = 128;
const BLOCK_BYTES: usize = BLOCK * 8;

/** sum + (a - b)^2, of the two coordinates at `at`. */
@inline
function square(a: v128, b: usize, at: usize, sum: v128): v128 {
  const d = f64x2.sub(a, v128.load(b + at));
  return f64x2.add(sum, f64x2.mul(d, d));
}

@inline
function addTo(out: usize, sum: v128): void {
  store<f64>(out, load<f64>(out) + sum2(sum));
}

// out[i, j] += |x_i - x_j|^2 for i < j. rows: float32, `stride` bytes from one to the next; columns
// of them are looked at. block: scratch for `count` times 128 float64. out: float64 [count, count].
export function addDistances(rows: usize, count: i32, stride: usize, columns: i32, block: usize, out: usize): void {
  for (let from = 0; from < columns; from += BLOCK) {
    const size = min(BLOCK, columns - from);
    for (let row = 0; row < count; row++) {
      let x = rows + <usize>row * stride + (<usize>from << 2);
      let y = block + <usize>row * BLOCK_BYTES;
      const end = x + (<usize>size << 2);
      for (; x + 16 <= end; x += 16, y += 32) {
        const v = v128.load(x);
        v128.store(y, low(v));
        v128.store(y, high(v), 16);
      }
      for (; x < end; x += 4, y += 8) store<f64>(y, load<f32>(x));
      if (size & 1) store<f64>(y, 0);
    }
    const bytes = <usize>((size + 1) & ~1) << 3;
    for (let i = 0; i < count; i++) {
      const a = block + <usize>i * BLOCK_BYTES;
      let j = i + 1;
      let b = block + <usize>j * BLOCK_BYTES;
      let to = out + (<usize>(i * count + j) << 3);
      for (; j + 4 <= count; j += 4, b += 4 * BLOCK_BYTES, to += 32) {
        let s0 = f64x2.splat(0), s1 = s0, s2 = s0, s3 = s0;
        for (let at: usize = 0; at < bytes; at += 16) {
          const x = v128.load(a + at);
          s0 = square(x, b, at, s0);
          s1 = square(x, b + BLOCK_BYTES, at, s1);
          s2 = square(x, b + 2 * BLOCK_BYTES, at, s2);
          s3 = square(x, b + 3 * BLOCK_BYTES, at, s3);
        }
        addTo(to, s0);
        addTo(to + 8, s1);
        addTo(to + 16, s2);
        addTo(to + 24, s3);
      }
      for (; j < count; j++, b += BLOCK_BYTES, to += 8) {
        let s = f64x2.splat(0);
        for (let at: usize = 0; at < bytes; at += 16) s = square(v128.load(a + at), b, at, s);
        addTo(to, s);
      }
    }
  }
}

/** The smaller of each lane to a, the larger to b; equal ones stay. */
@inline
function order(a: usize, b: usize, at: usize): void {
  const x = v128.load(a + at);
  const y = v128.load(b + at);
  v128.store(a + at, f32x4.pmin(x, y));
  v128.store(b + at, f32x4.pmax(y, x));
}

// Sorts each column of float32 rows in place, by a network of `pairs` comparators: int32 pairs of
// places in the scratch, which holds 64 bytes of each row. columns is a multiple of 16.
export function sortColumns(rows: usize, count: i32, stride: usize, columns: i32, pairs: usize, pairsEnd: usize, scratch: usize): void {
  const end = rows + (<usize>columns << 2);
  const scratchEnd = scratch + (<usize>count << 6);
  for (; rows < end; rows += 64) {
    let x = rows;
    for (let y = scratch; y < scratchEnd; x += stride, y += 64) {
      v128.store(y, v128.load(x));
      v128.store(y, v128.load(x, 16), 16);
      v128.store(y, v128.load(x, 32), 32);
      v128.store(y, v128.load(x, 48), 48);
    }
    for (let pair = pairs; pair < pairsEnd; pair += 8) {
      const a = scratch + <usize>load<u32>(pair);
      const b = scratch + <usize>load<u32>(pair, 4);
      order(a, b, 0);
      order(a, b, 16);
      order(a, b, 32);
      order(a, b, 48);
    }
    x = rows;
    for (let y = scratch; y < scratchEnd; x += stride, y += 64) {
      v128.store(x, v128.load(y));
      v128.store(x, v128.load(y, 16), 16);
      v128.store(x, v128.load(y, 32), 32);
      v128.store(x, v128.load(y, 48), 48);
    }
  }
}
