// Helpers on four (or two) lanes that the kernels share. All inline: none of them exists as a
// function in the module.

/** a b + c. The relaxed build rounds once where the hardware can, the SIMD build twice. */
@inline
export function madd(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(f32x4.mul(a, b), c);
}

/** max(x, 0), one instruction; a NaN stays a NaN. */
@inline
export function positive(x: v128): v128 {
  return f32x4.pmax(x, f32x4.splat(0));
}

/** The lower two lanes as float64. */
@inline
export function low(x: v128): v128 {
  return f64x2.promote_low_f32x4(x);
}

/** The upper two lanes as float64. */
@inline
export function high(x: v128): v128 {
  return f64x2.promote_low_f32x4(v128.shuffle<i32>(x, x, 2, 3, 2, 3));
}

/** The sum of two float64 lanes. */
@inline
export function sum2(x: v128): f64 {
  return f64x2.extract_lane(x, 0) + f64x2.extract_lane(x, 1);
}

/** The sum of four float32 lanes, added in float64. */
@inline
export function sum4(x: v128): f64 {
  return sum2(f64x2.add(low(x), high(x)));
}

/** The largest of four float32 lanes; NaN if one is. */
@inline
export function max4(x: v128): f32 {
  const pairs = f32x4.max(x, v128.shuffle<i32>(x, x, 2, 3, 0, 1));
  return max(f32x4.extract_lane(pairs, 0), f32x4.extract_lane(pairs, 1));
}
