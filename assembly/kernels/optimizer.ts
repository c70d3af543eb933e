import { high, low, madd, sum2 } from "../lanes/lanes";

// The local step of every algorithm in one pass over the parameters:
//   d = g + proximal (theta - center) + linear;  theta <- theta - learningRate (clipScale d + weightDecay theta).
// All vectors have `size` floats; center and linear may be null (then their terms are absent).

@inline
function direction4(g: usize, theta: v128, center: usize, linear: usize, proximal: v128): v128 {
  let d = v128.load(g);
  if (center) d = madd(proximal, f32x4.sub(theta, v128.load(center)), d);
  if (linear) d = f32x4.add(d, v128.load(linear));
  return d;
}

@inline
function direction(g: usize, theta: f32, center: usize, linear: usize, proximal: f32): f32 {
  let d = load<f32>(g);
  if (center) d += proximal * (theta - load<f32>(center));
  if (linear) d += load<f32>(linear);
  return d;
}

// sum of d[i]^2
export function stepSquaredNorm(g: usize, theta: usize, center: usize, linear: usize, size: i32, proximal: f32): f64 {
  const proximal4 = f32x4.splat(proximal);
  const end = g + (<usize>size << 2);
  let s0 = f64x2.splat(0), s1 = f64x2.splat(0);
  for (; g + 16 <= end; g += 16, theta += 16) {
    const d = direction4(g, v128.load(theta), center, linear, proximal4);
    s0 = f64x2.add(s0, f64x2.mul(low(d), low(d)));
    s1 = f64x2.add(s1, f64x2.mul(high(d), high(d)));
    if (center) center += 16;
    if (linear) linear += 16;
  }
  let sum = sum2(f64x2.add(s0, s1));
  for (; g < end; g += 4, theta += 4) {
    const d = <f64>direction(g, load<f32>(theta), center, linear, proximal);
    sum += d * d;
    if (center) center += 4;
    if (linear) linear += 4;
  }
  return sum;
}

// theta[i] <- theta[i] - learningRate (clipScale d[i] + weightDecay theta[i])
export function step(
  theta: usize, g: usize, center: usize, linear: usize, size: i32,
  proximal: f32, clipScale: f32, learningRate: f32, weightDecay: f32,
): void {
  const proximal4 = f32x4.splat(proximal);
  const clip4 = f32x4.splat(clipScale);
  const rate4 = f32x4.splat(learningRate);
  const decay4 = f32x4.splat(weightDecay);
  const end = g + (<usize>size << 2);
  for (; g + 16 <= end; g += 16, theta += 16) {
    const t = v128.load(theta);
    const d = direction4(g, t, center, linear, proximal4);
    v128.store(theta, f32x4.sub(t, f32x4.mul(rate4, madd(clip4, d, f32x4.mul(decay4, t)))));
    if (center) center += 16;
    if (linear) linear += 16;
  }
  for (; g < end; g += 4, theta += 4) {
    const t = load<f32>(theta);
    const d = direction(g, t, center, linear, proximal);
    store<f32>(theta, t - learningRate * (clipScale * d + weightDecay * t));
    if (center) center += 4;
    if (linear) linear += 4;
  }
}

// out[i] = theta[i] + factor g[i]
export function samAscent(out: usize, theta: usize, g: usize, size: i32, factor: f32): void {
  const factor4 = f32x4.splat(factor);
  const end = g + (<usize>size << 2);
  for (; g + 16 <= end; g += 16, theta += 16, out += 16) v128.store(out, madd(factor4, v128.load(g), v128.load(theta)));
  for (; g < end; g += 4, theta += 4, out += 4) store<f32>(out, load<f32>(theta) + factor * load<f32>(g));
}

// T[i] = |theta[i]| + eta, or 1 if eta is negative (biases).
@inline
function scale4(theta: v128, eta: f32): v128 {
  return eta < 0 ? f32x4.splat(1) : f32x4.add(f32x4.abs(theta), f32x4.splat(eta));
}

@inline
function scale(theta: f32, eta: f32): f32 {
  return eta < 0 ? 1 : abs(theta) + eta;
}

// sum of (T[i] g[i])^2
export function asamSquaredNorm(theta: usize, g: usize, size: i32, eta: f32): f64 {
  const end = g + (<usize>size << 2);
  let s0 = f64x2.splat(0), s1 = f64x2.splat(0);
  for (; g + 16 <= end; g += 16, theta += 16) {
    const d = f32x4.mul(scale4(v128.load(theta), eta), v128.load(g));
    s0 = f64x2.add(s0, f64x2.mul(low(d), low(d)));
    s1 = f64x2.add(s1, f64x2.mul(high(d), high(d)));
  }
  let sum = sum2(f64x2.add(s0, s1));
  for (; g < end; g += 4, theta += 4) {
    const d = <f64>(scale(load<f32>(theta), eta) * load<f32>(g));
    sum += d * d;
  }
  return sum;
}

// out[i] = theta[i] + factor T[i]^2 g[i]
export function asamAscent(out: usize, theta: usize, g: usize, size: i32, factor: f32, eta: f32): void {
  const factor4 = f32x4.splat(factor);
  const end = g + (<usize>size << 2);
  for (; g + 16 <= end; g += 16, theta += 16, out += 16) {
    const t = v128.load(theta);
    const scaled = scale4(t, eta);
    v128.store(out, madd(factor4, f32x4.mul(f32x4.mul(scaled, scaled), v128.load(g)), t));
  }
  for (; g < end; g += 4, theta += 4, out += 4) {
    const t = load<f32>(theta);
    const scaled = scale(t, eta);
    store<f32>(out, t + factor * (scaled * scaled * load<f32>(g)));
  }
}
