import { high, low, madd, positive, sum2, sum4 } from "../lanes/lanes";

// y[b, p, c] = relu?(gamma[c] (x[b, p, c] - mean[b, g]) inverseDeviation[b, g] + beta[c]), g = the
// group of channel c, inverseDeviation = 1 / sqrt(variance + epsilon), mean and variance over the
// positions and channels of one example's group.
//
// x, y: [batch, positions, channels]. gamma, beta: [channels]. mean, inverseDeviation: [batch,
// groups]. A group is channels / groups neighbouring channels.

/** Positions whose sums are added in float32. */
const BLOCK: i32 = 32;

export function groupNorm(
  x: usize, gamma: usize, beta: usize, y: usize, mean: usize, inverseDeviation: usize,
  batch: i32, positions: i32, channels: i32, groups: i32, epsilon: f32, relu: i32, norm: i32,
): f64 {
  const width = <usize>(channels / groups) << 2;
  const stride = <usize>channels << 2;
  const count = <f64>positions * <f64>(channels / groups);
  let squares: f64 = 0;
  for (let example = 0; example < batch; example++) {
    for (let at: usize = 0; at < stride; at += width) {
      const average = <f32>(deviations(x + at, stride, width, positions, 0, false) / count);
      const inverse = <f32>(1 / sqrt<f64>(deviations(x + at, stride, width, positions, average, true) / count + <f64>epsilon));
      store<f32>(mean, average);
      store<f32>(inverseDeviation, inverse);
      mean += 4;
      inverseDeviation += 4;
      const average4 = f32x4.splat(average);
      let i: usize = 0;
      // One position: a row of the vectors below.
      if (positions == 1 && !norm)
        for (; i + 16 <= width; i += 16) {
          const normal = f32x4.mul(f32x4.sub(v128.load(x + at + i), average4), f32x4.splat(inverse));
          let value = madd(v128.load(gamma + at + i), normal, v128.load(beta + at + i));
          if (relu) value = positive(value);
          v128.store(y + at + i, value);
        }
      for (; i + 16 <= width; i += 16) {
        const scale = f32x4.mul(v128.load(gamma + at + i), f32x4.splat(inverse));
        const shift = v128.load(beta + at + i);
        let row = at + i;
        for (let p = 0; p < positions; ) {
          // Short float32 sums, added up in float64.
          let sum = f32x4.splat(0);
          for (const last = min(positions, p + BLOCK); p < last; p++, row += stride) {
            let value = madd(scale, f32x4.sub(v128.load(x + row), average4), shift);
            if (relu) value = positive(value);
            sum = madd(value, value, sum);
            v128.store(y + row, value);
          }
          if (norm) squares += sum4(sum);
        }
      }
      for (; i < width; i += 4) {
        const scale = load<f32>(gamma + at + i) * inverse, shift = load<f32>(beta + at + i);
        let row = at + i;
        for (let p = 0; p < positions; p++, row += stride) {
          let value = scale * (load<f32>(x + row) - average) + shift;
          if (relu) value = value < 0 ? 0 : value;
          squares += <f64>value * <f64>value;
          store<f32>(y + row, value);
        }
      }
    }
    x += <usize>positions * stride;
    y += <usize>positions * stride;
  }
  return norm ? squares : 0;
}

/** Sum over one group of (x - center), or of its square. */
@inline
function deviations(x: usize, stride: usize, width: usize, positions: i32, center: f32, square: bool): f64 {
  const center4 = f32x4.splat(center);
  const vectors = width & ~15;
  let s0 = f64x2.splat(0), s1 = f64x2.splat(0);
  let rest: f64 = 0;
  for (let p = 0; p < positions; ) {
    // Short float32 sums, four side by side, added up in float64.
    let a = f32x4.splat(0), b = a, c = a, d = a;
    const last = min(positions, p + BLOCK);
    for (; p + 4 <= last; p += 4) {
      const x1 = x + stride, x2 = x1 + stride, x3 = x2 + stride;
      for (let i: usize = 0; i < vectors; i += 16) {
        a = plus(a, x + i, center4, square);
        b = plus(b, x1 + i, center4, square);
        c = plus(c, x2 + i, center4, square);
        d = plus(d, x3 + i, center4, square);
      }
      if (vectors < width) rest += remainder(x, stride, vectors, width, 4, center, square);
      x = x3 + stride;
    }
    for (; p < last; p++, x += stride) {
      let i: usize = 0;
      for (; i + 32 <= vectors; i += 32) {
        a = plus(a, x + i, center4, square);
        b = plus(b, x + i + 16, center4, square);
      }
      if (i < vectors) a = plus(a, x + i, center4, square);
      if (vectors < width) rest += remainder(x, stride, vectors, width, 1, center, square);
    }
    const sum = f32x4.add(f32x4.add(a, b), f32x4.add(c, d));
    s0 = f64x2.add(s0, low(sum));
    s1 = f64x2.add(s1, high(sum));
  }
  return sum2(f64x2.add(s0, s1)) + rest;
}

@inline
function plus(sum: v128, x: usize, center: v128, square: bool): v128 {
  const d = f32x4.sub(v128.load(x), center);
  return square ? madd(d, d, sum) : f32x4.add(sum, d);
}

/** The part of `deviations` in channels that fill no vector, of a few positions. */
function remainder(x: usize, stride: usize, from: usize, width: usize, positions: i32, center: f32, square: bool): f64 {
  let sum: f64 = 0;
  for (; positions > 0; positions--, x += stride)
    for (let i = from; i < width; i += 4) {
      const d = <f64>load<f32>(x + i) - <f64>center;
      sum += square ? d * d : d;
    }
  return sum;
}

// With n = (x - mean) inverseDeviation and N elements in a group:
//   dbeta[c] = sum over b, p of dy;  dgamma[c] = sum over b, p of dy n;
//   dx = inverseDeviation (gamma dy - (1/N) sum over the group of gamma dy - n (1/N) sum over the group of gamma dy n).
// dy, dx: like x (dy and dx may be the same). dgamma, dbeta: [channels].
export function groupNormBackprop(
  x: usize, gamma: usize, mean: usize, inverseDeviation: usize, dy: usize, dx: usize, dgamma: usize, dbeta: usize,
  batch: i32, positions: i32, channels: i32, groups: i32,
): void {
  const width = <usize>(channels / groups) << 2;
  const stride = <usize>channels << 2;
  const share = 1 / (<f64>positions * <f64>(channels / groups));
  memory.fill(dgamma, 0, stride);
  memory.fill(dbeta, 0, stride);
  for (let example = 0; example < batch; example++) {
    for (let at: usize = 0; at < stride; at += width) {
      const average = load<f32>(mean);
      const inverse = load<f32>(inverseDeviation);
      const average4 = f32x4.splat(average);
      const inverse4 = f32x4.splat(inverse);
      mean += 4;
      inverseDeviation += 4;
      // Sums over the group of gamma dy and of gamma dy n.
      let first: f64 = 0, second: f64 = 0;
      let i: usize = 0;
      for (; i + 16 <= width; i += 16) {
        let sum = f32x4.splat(0), product = sum, sum1 = sum, product1 = sum;
        let row = at + i;
        // Two positions side by side: neither waits for the other's sum.
        let p = 0;
        for (; p + 2 <= positions; p += 2) {
          const g = v128.load(dy + row), g1 = v128.load(dy + row + stride);
          sum = f32x4.add(sum, g);
          product = madd(g, f32x4.sub(v128.load(x + row), average4), product);
          sum1 = f32x4.add(sum1, g1);
          product1 = madd(g1, f32x4.sub(v128.load(x + row + stride), average4), product1);
          row += stride << 1;
        }
        if (p < positions) {
          const g = v128.load(dy + row);
          sum = f32x4.add(sum, g);
          product = madd(g, f32x4.sub(v128.load(x + row), average4), product);
        }
        sum = f32x4.add(sum, sum1);
        product = f32x4.mul(f32x4.add(product, product1), inverse4);
        const channel = at + i;
        v128.store(dbeta + channel, f32x4.add(v128.load(dbeta + channel), sum));
        v128.store(dgamma + channel, f32x4.add(v128.load(dgamma + channel), product));
        const weight = v128.load(gamma + channel);
        first += sum4(f32x4.mul(weight, sum));
        second += sum4(f32x4.mul(weight, product));
      }
      for (; i < width; i += 4) {
        let sum: f32 = 0, product: f32 = 0;
        let row = at + i;
        for (let p = 0; p < positions; p++, row += stride) {
          const g = load<f32>(dy + row);
          sum += g;
          product += g * ((load<f32>(x + row) - average) * inverse);
        }
        const channel = at + i;
        store<f32>(dbeta + channel, load<f32>(dbeta + channel) + sum);
        store<f32>(dgamma + channel, load<f32>(dgamma + channel) + product);
        first += <f64>(load<f32>(gamma + channel) * sum);
        second += <f64>(load<f32>(gamma + channel) * product);
      }
      const offset = <f32>(first * share);
      const slope = <f32>(second * share);
      // dx = (inverse gamma) dy - (inverse^2 slope) (x - average) - inverse offset
      const constant = -inverse * offset, tilt = -inverse * inverse * slope;
      const constant4 = f32x4.splat(constant), tilt4 = f32x4.splat(tilt);
      for (i = 0; i + 16 <= width; i += 16) {
        const scale = f32x4.mul(v128.load(gamma + at + i), inverse4);
        let row = at + i;
        for (let p = 0; p < positions; p++, row += stride) {
          const rest = madd(tilt4, f32x4.sub(v128.load(x + row), average4), constant4);
          v128.store(dx + row, madd(scale, v128.load(dy + row), rest));
        }
      }
      for (; i < width; i += 4) {
        const scale = load<f32>(gamma + at + i) * inverse;
        let row = at + i;
        for (let p = 0; p < positions; p++, row += stride)
          store<f32>(dx + row, scale * load<f32>(dy + row) + (tilt * (load<f32>(x + row) - average) + constant));
      }
    }
    x += <usize>positions * stride;
    dy += <usize>positions * stride;
    dx += <usize>positions * stride;
  }
}
