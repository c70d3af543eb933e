import { high, low, madd, positive, sum2, sum4 } from "../lanes/lanes";

// y[b, p, c] = relu?(gamma[c] (x[b, p, c] - mean[b, g]) inverseDeviation[b, g] + beta[c]), g = the
// group of channel c, inverseDeviation = 1 / sqrt(variance + epsilon), mean and variance over the
// positions and channels of one example's group.
//
// x, y: [batch, positions, channels]. gamma, beta: [channels]. mean, inverseDeviation: [batch,
// groups]. A group is channels / groups neighbouring channels.

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
      const inverse4 = f32x4.splat(inverse);
      for (let p = 0, row = at; p < positions; p++, row += stride) {
        let i: usize = 0;
        let sum = f32x4.splat(0);
        for (; i + 16 <= width; i += 16) {
          const normal = f32x4.mul(f32x4.sub(v128.load(x + row + i), average4), inverse4);
          let value = madd(v128.load(gamma + at + i), normal, v128.load(beta + at + i));
          if (relu) value = positive(value);
          if (norm) sum = madd(value, value, sum);
          v128.store(y + row + i, value);
        }
        if (norm) squares += sum4(sum);
        for (; i < width; i += 4) {
          let value = load<f32>(gamma + at + i) * ((load<f32>(x + row + i) - average) * inverse) + load<f32>(beta + at + i);
          if (relu) value = value < 0 ? 0 : value;
          if (norm) squares += <f64>value * <f64>value;
          store<f32>(y + row + i, value);
        }
      }
    }
    x += <usize>positions * stride;
    y += <usize>positions * stride;
  }
  return squares;
}

/** Sum over one group of (x - center), or of its square. */
@inline
function deviations(x: usize, stride: usize, width: usize, positions: i32, center: f32, square: bool): f64 {
  const center4 = f32x4.splat(center);
  let s0 = f64x2.splat(0), s1 = f64x2.splat(0);
  let rest: f64 = 0;
  for (let p = 0; p < positions; p++, x += stride) {
    let sum = f32x4.splat(0);
    let i: usize = 0;
    for (; i + 16 <= width; i += 16) {
      const d = f32x4.sub(v128.load(x + i), center4);
      sum = square ? madd(d, d, sum) : f32x4.add(sum, d);
    }
    s0 = f64x2.add(s0, low(sum));
    s1 = f64x2.add(s1, high(sum));
    for (; i < width; i += 4) {
      const d = <f64>load<f32>(x + i) - <f64>center;
      rest += square ? d * d : d;
    }
  }
  return sum2(f64x2.add(s0, s1)) + rest;
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
        let sum = f32x4.splat(0), product = f32x4.splat(0);
        let row = at + i;
        for (let p = 0; p < positions; p++, row += stride) {
          const g = v128.load(dy + row);
          sum = f32x4.add(sum, g);
          product = madd(g, f32x4.mul(f32x4.sub(v128.load(x + row), average4), inverse4), product);
        }
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
      const offset4 = f32x4.splat(offset);
      const slope4 = f32x4.splat(slope);
      for (let p = 0, row = at; p < positions; p++, row += stride) {
        i = 0;
        for (; i + 16 <= width; i += 16) {
          const normal = f32x4.mul(f32x4.sub(v128.load(x + row + i), average4), inverse4);
          const g = f32x4.mul(v128.load(gamma + at + i), v128.load(dy + row + i));
          v128.store(dx + row + i, f32x4.mul(inverse4, f32x4.sub(f32x4.sub(g, offset4), f32x4.mul(normal, slope4))));
        }
        for (; i < width; i += 4) {
          const normal = (load<f32>(x + row + i) - average) * inverse;
          const g = load<f32>(gamma + at + i) * load<f32>(dy + row + i);
          store<f32>(dx + row + i, inverse * (g - offset - normal * slope));
        }
      }
    }
    x += <usize>positions * stride;
    dy += <usize>positions * stride;
    dx += <usize>positions * stride;
  }
}
