import { madd } from "./lanes";

// exp(x) for x <= 88 without a table: x = n ln 2 + r with |r| <= ln 2 / 2, and e^r by its Taylor
// series to r^7, whose error there is below 1e-8 relative. Below -87.3 the result is 0 (float32 has
// only denormal numbers there). A NaN stays a NaN.

/** e^x in each of four lanes. */
@inline
export function exp(x: v128): v128 {
  // Added to 1.5 * 2^23, a number is rounded to a whole one, which stands in the sum's lowest bits.
  const whole = f32x4.add(f32x4.mul(x, f32x4.splat(1.4426950408889634)), f32x4.splat(12582912));
  const n = f32x4.sub(whole, f32x4.splat(12582912));
  // ln 2 in two parts, the first with so few bits that n times it is exact.
  let r = f32x4.sub(x, f32x4.mul(n, f32x4.splat(0.693359375)));
  r = f32x4.sub(r, f32x4.mul(n, f32x4.splat(-2.12194440e-4)));
  let series = f32x4.splat(1.0 / 5040.0);
  series = madd(series, r, f32x4.splat(1.0 / 720.0));
  series = madd(series, r, f32x4.splat(1.0 / 120.0));
  series = madd(series, r, f32x4.splat(1.0 / 24.0));
  series = madd(series, r, f32x4.splat(1.0 / 6.0));
  series = madd(series, r, f32x4.splat(0.5));
  series = madd(series, r, f32x4.splat(1));
  series = madd(series, r, f32x4.splat(1));
  const power = i32x4.shl(i32x4.add(whole, i32x4.splat(127)), 23);
  const tiny = f32x4.lt(x, f32x4.splat(-87.33));
  return v128.andnot(f32x4.mul(series, power), tiny);
}
