import { exp } from "./exp";
import { madd } from "./lanes";

// The activations of runtime/models/layers/activations.ts in each of four lanes. Derivatives are
// taken at z from z itself and y = f(z), whichever is cheaper.

export const RELU: i32 = 1, RELU6: i32 = 2, LEAKY_RELU: i32 = 3, TANH: i32 = 4, SIGMOID: i32 = 5;
export const ELU: i32 = 6, HARD_SIGMOID: i32 = 7, HARD_SIGMOID5: i32 = 8, HARD_SWISH: i32 = 9;
export const SILU: i32 = 10, GELU: i32 = 11;

/** The slope of leakyRelu below 0. */
const LEAK: f32 = 0.01;

@inline
function splat(x: f32): v128 {
  return f32x4.splat(x);
}

/** min(max(x, low), high); a NaN stays one. */
@inline
function clamp(x: v128, lowest: f32, highest: f32): v128 {
  return f32x4.min(f32x4.max(x, splat(lowest)), splat(highest));
}

/** 1 / (1 + e^-x); e^-x is kept below infinity, where the quotient is 0 anyway. */
@inline
function sigmoid(x: v128): v128 {
  const e = exp(f32x4.min(f32x4.neg(x), splat(87)));
  return f32x4.div(splat(1), f32x4.add(splat(1), e));
}

/** (e^2x - 1) / (e^2x + 1), by its series x - x^3/3 + 2x^5/15 - 17x^7/315 near 0, where 1 would swallow x. */
@inline
function tanh(x: v128): v128 {
  const e = exp(clamp(f32x4.add(x, x), -40, 40));
  const far = f32x4.div(f32x4.sub(e, splat(1)), f32x4.add(e, splat(1)));
  const z = f32x4.mul(x, x);
  let series = madd(splat(-17.0 / 315.0), z, splat(2.0 / 15.0));
  series = madd(series, z, splat(-1.0 / 3.0));
  series = madd(series, z, splat(1));
  return v128.bitselect(f32x4.mul(series, x), far, f32x4.lt(f32x4.abs(x), splat(0.15)));
}

/** e^(-x^2/2), of which the normal distribution and its density are made. */
@inline
function bell(x: v128): v128 {
  return exp(f32x4.mul(splat(-0.5), f32x4.mul(x, x)));
}

/** Phi(x), the normal distribution; erf by Abramowitz and Stegun 7.1.26, whose error is below 1.5e-7. */
@inline
function normal(x: v128, bell: v128): v128 {
  const a = f32x4.mul(f32x4.abs(x), splat(0.7071067811865476));
  const t = f32x4.div(splat(1), madd(splat(0.3275911), a, splat(1)));
  let series = madd(splat(1.061405429), t, splat(-1.453152027));
  series = madd(series, t, splat(1.421413741));
  series = madd(series, t, splat(-0.284496736));
  series = madd(series, t, splat(0.254829592));
  const tail = f32x4.mul(f32x4.mul(series, t), bell);
  const half = f32x4.mul(splat(0.5), tail);
  return v128.bitselect(half, f32x4.sub(splat(1), half), f32x4.lt(x, splat(0)));
}

/** gelu, by itself because a loop over it alone takes less time. */
@inline
export function gelu(x: v128): v128 {
  return f32x4.mul(x, normal(x, bell(x)));
}

/** Its derivative. */
@inline
export function geluDerivative(z: v128): v128 {
  const e = bell(z);
  return madd(z, f32x4.mul(splat(0.3989422804014327), e), normal(z, e));
}

/** f(x) */
export function activated(kind: i32, x: v128): v128 {
  if (kind == RELU) return f32x4.max(x, splat(0));
  if (kind == RELU6) return clamp(x, 0, 6);
  if (kind == LEAKY_RELU) return f32x4.max(x, f32x4.mul(x, splat(LEAK)));
  if (kind == TANH) return tanh(x);
  if (kind == SIGMOID) return sigmoid(x);
  if (kind == ELU) {
    const below = f32x4.sub(exp(f32x4.min(x, splat(0))), splat(1));
    return v128.bitselect(x, below, f32x4.gt(x, splat(0)));
  }
  if (kind == HARD_SIGMOID) return clamp(madd(x, splat(1.0 / 6.0), splat(0.5)), 0, 1);
  if (kind == HARD_SIGMOID5) return clamp(madd(x, splat(0.2), splat(0.5)), 0, 1);
  if (kind == HARD_SWISH) return f32x4.mul(x, clamp(madd(x, splat(1.0 / 6.0), splat(0.5)), 0, 1));
  if (kind == SILU) return f32x4.mul(x, sigmoid(x));
  return gelu(x);
}

/** 1 where the mask is set, else 0. */
@inline
function one(mask: v128): v128 {
  return v128.and(mask, splat(1));
}

/** f'(z) */
export function derivative(kind: i32, z: v128, y: v128): v128 {
  if (kind == RELU) return one(f32x4.gt(y, splat(0)));
  if (kind == RELU6) return one(v128.and(f32x4.gt(y, splat(0)), f32x4.lt(y, splat(6))));
  if (kind == LEAKY_RELU) return v128.bitselect(splat(1), splat(LEAK), f32x4.gt(y, splat(0)));
  if (kind == TANH) return f32x4.sub(splat(1), f32x4.mul(y, y));
  if (kind == SIGMOID) return f32x4.mul(y, f32x4.sub(splat(1), y));
  if (kind == ELU) return v128.bitselect(splat(1), f32x4.add(y, splat(1)), f32x4.gt(y, splat(0)));
  if (kind == HARD_SIGMOID || kind == HARD_SIGMOID5) {
    const inside = v128.and(f32x4.gt(y, splat(0)), f32x4.lt(y, splat(1)));
    return v128.and(inside, splat(kind == HARD_SIGMOID ? 1.0 / 6.0 : 0.2));
  }
  if (kind == HARD_SWISH) {
    const slope = madd(z, splat(1.0 / 3.0), splat(0.5));
    const above = one(f32x4.ge(z, splat(3)));
    return v128.bitselect(slope, above, f32x4.lt(f32x4.abs(z), splat(3)));
  }
  if (kind == SILU) {
    const s = sigmoid(z);
    return madd(f32x4.mul(z, s), f32x4.sub(splat(1), s), s);
  }
  return geluDerivative(z);
}

/** Four floats, or one in each lane where fewer than four are left. */
@inline
export function read(at: usize, wide: bool): v128 {
  return wide ? v128.load(at) : f32x4.splat(load<f32>(at));
}

/** The other way: four floats, or one. */
@inline
export function write(at: usize, value: v128, wide: bool): void {
  if (wide) v128.store(at, value);
  else store<f32>(at, f32x4.extract_lane(value, 0));
}
