import { high, low } from "../lanes/lanes";

// Reproducible sums by pre-rounding (Demmel and Nguyen 2013; docs/architecture.md): every term is
// rounded to a common grid by adding and subtracting C = 1.5 * 2^52 * grid in float64; sums of such
// numbers are exact, so their order does not matter.
//
// sum: float64 [size], 16-byte aligned. x: [size] float32, float16 bits or int8, as it lies in an
// update.

/** sum[i], sum[i + 1] += (weight x + C) - C */
@inline
function add(sum: usize, x: v128, weight: v128, c: v128): void {
  const term = f64x2.sub(f64x2.add(f64x2.mul(weight, x), c), c);
  v128.store(sum, f64x2.add(v128.load(sum), term));
}

@inline
function add1(sum: usize, x: f64, weight: f64, c: f64): void {
  store<f64>(sum, load<f64>(sum) + (weight * x + c - c));
}

// sum[i] += (weight x[i] + C) - C
export function foldFloat32(sum: usize, x: usize, size: i32, weight: f64, c: f64): void {
  const weight2 = f64x2.splat(weight);
  const c2 = f64x2.splat(c);
  const end = x + (<usize>size << 2);
  for (; x + 16 <= end; x += 16, sum += 32) {
    const v = v128.load(x);
    add(sum, low(v), weight2, c2);
    add(sum + 16, high(v), weight2, c2);
  }
  for (; x < end; x += 4, sum += 8) add1(sum, load<f32>(x), weight, c);
}

/**
 * Four float16 bit patterns, one in the lower half of each 32-bit lane, as float32. Infinity and
 * NaN become values of at least 65536.
 */
@inline
function halves(bits: v128): v128 {
  const magnitude = i32x4.shl(v128.and(bits, i32x4.splat(0x7fff)), 13);
  const sign = i32x4.shl(v128.and(bits, i32x4.splat(0x8000)), 16);
  // 2^112 moves the exponent's bias from 15 to 127 and makes denormal numbers normal.
  return v128.or(f32x4.mul(magnitude, f32x4.splat(5192296858534827628530496329220096.0)), sign);
}

// The same with x as float16.
export function foldFloat16(sum: usize, x: usize, size: i32, weight: f64, c: f64): void {
  const weight2 = f64x2.splat(weight);
  const c2 = f64x2.splat(c);
  const end = x + (<usize>size << 1);
  for (; x + 8 <= end; x += 8, sum += 32) {
    const v = halves(v128.load16x4_u(x));
    add(sum, low(v), weight2, c2);
    add(sum + 16, high(v), weight2, c2);
  }
  for (; x < end; x += 2, sum += 8) add1(sum, f32x4.extract_lane(halves(i32x4.splat(load<u16>(x))), 0), weight, c);
}

// The same with x as int8; the codec's scale belongs into the weight.
export function foldInt8(sum: usize, x: usize, size: i32, weight: f64, c: f64): void {
  const weight2 = f64x2.splat(weight);
  const c2 = f64x2.splat(c);
  const end = x + <usize>size;
  for (; x + 8 <= end; x += 8, sum += 64) {
    const words = v128.load8x8_s(x);
    const first = i32x4.extend_low_i16x8_s(words);
    const second = i32x4.extend_high_i16x8_s(words);
    add(sum, f64x2.convert_low_i32x4_s(first), weight2, c2);
    add(sum + 16, f64x2.convert_low_i32x4_s(v128.shuffle<i64>(first, first, 1, 1)), weight2, c2);
    add(sum + 32, f64x2.convert_low_i32x4_s(second), weight2, c2);
    add(sum + 48, f64x2.convert_low_i32x4_s(v128.shuffle<i64>(second, second, 1, 1)), weight2, c2);
  }
  for (; x < end; x++, sum += 8) add1(sum, load<i8>(x), weight, c);
}

// How many elements of float32 x are not finite or larger than maxAbs in size.
export function checkRange(x: usize, size: i32, maxAbs: f64): i32 {
  const limit = f64x2.splat(maxAbs);
  const end = x + (<usize>size << 2);
  let inside = i64x2.splat(0);
  let count = size;
  for (; x + 16 <= end; x += 16) {
    const v = f32x4.abs(v128.load(x));
    // A comparison that holds is -1 in its lane.
    inside = i64x2.add(inside, i64x2.add(f64x2.le(low(v), limit), f64x2.le(high(v), limit)));
  }
  count += <i32>(i64x2.extract_lane(inside, 0) + i64x2.extract_lane(inside, 1));
  for (; x < end; x += 4) if (<f64>abs(load<f32>(x)) <= maxAbs) count--;
  return count;
}

// How many elements of float16 x are not finite or larger than maxAbs in size.
export function checkRangeFloat16(x: usize, size: i32, maxAbs: f64): i32 {
  let count = 0;
  for (const end = x + (<usize>size << 1); x < end; x += 2) {
    const bits = <i32>load<u16>(x);
    const value = <f64>abs(f32x4.extract_lane(halves(i32x4.splat(bits)), 0));
    if ((bits & 0x7c00) == 0x7c00 || value > maxAbs) count++;
  }
  return count;
}
