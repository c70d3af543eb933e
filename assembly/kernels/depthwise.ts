import { Window } from "../lanes/geometry";
import { high, low, madd, positive, sum4 } from "../lanes/lanes";

// y[b, oy, ox, c M + q] = relu?(bias[c M + q] + sum over ky, kx of x[b, oy sh + ky - padTop, ox sw
// + kx - padLeft, c] w[ky, kx, c, q]), M = multiplier, where x outside the image is 0.
//
// x: [batch, inHeight, inWidth, inChannels]. w: [kernelHeight, kernelWidth, inChannels, M]. bias:
// [inChannels M] or null. y: [batch, outHeight, outWidth, inChannels M].
//
// With M = 1 four channels at a time; otherwise, and for the last channels, one at a time. A sum
// stays in a register over the window. Windows of 3x3, which most networks have, are written out:
// their weights stay in registers down a column of outputs.

/**
 * The part of a window that lies inside the image: taps from `first` to before `last` when the
 * window begins at `start`.
 */
@inline
function first(start: i32): i32 {
  return max(0, -start);
}

@inline
function last(start: i32, kernel: i32, size: i32): i32 {
  return min(kernel, size - start);
}

/** Four lanes at an address, or zeros. */
@inline
function loadIf(inside: bool, at: usize): v128 {
  return inside ? v128.load(at) : f32x4.splat(0);
}

// One image under 3x3 windows, its channels a multiple of four; with `turned` by the filter turned round, as the gradient by the
// input has it. Returns the sum of squares if `norm`.
function image3x3(
  x: usize, inHeight: i32, inWidth: i32, w: usize, turned: bool, bias: usize, y: usize, outHeight: i32, outWidth: i32,
  channels: i32, strideHeight: i32, strideWidth: i32, padTop: i32, padLeft: i32, relu: i32, norm: i32,
): f64 {
  const pixel = <usize>channels << 2;
  const tap = turned ? 0 - pixel : pixel;
  const line = <usize>inWidth * pixel;
  let squares: f64 = 0;
  for (let c = 0; c < channels; c += 4) {
    const at = <usize>c << 2;
    const first = bias ? v128.load(bias + at) : f32x4.splat(0);
    for (let ox = 0; ox < outWidth; ox++) {
      const left = ox * strideWidth - padLeft;
      // A column outside the image has weights of zero, and reads the nearest one inside.
      const in0 = <u32>left < <u32>inWidth, in1 = <u32>(left + 1) < <u32>inWidth, in2 = <u32>(left + 2) < <u32>inWidth;
      const p0 = <usize>max(0, min(left, inWidth - 1)) * pixel;
      const p1 = <usize>max(0, min(left + 1, inWidth - 1)) * pixel;
      const p2 = <usize>max(0, min(left + 2, inWidth - 1)) * pixel;
      let from = w + at + (turned ? pixel << 3 : 0);
      const w0 = loadIf(in0, from), w1 = loadIf(in1, from + tap), w2 = loadIf(in2, from + 2 * tap);
      from += 3 * tap;
      const w3 = loadIf(in0, from), w4 = loadIf(in1, from + tap), w5 = loadIf(in2, from + 2 * tap);
      from += 3 * tap;
      const w6 = loadIf(in0, from), w7 = loadIf(in1, from + tap), w8 = loadIf(in2, from + 2 * tap);
      let to = y + <usize>ox * pixel + at;
      // A column's squares are added in float32.
      let column = f32x4.splat(0);
      for (let oy = 0; oy < outHeight; oy++) {
        const top = oy * strideHeight - padTop;
        let row = x + <usize>top * line + at;
        let sum = first;
        if (strideHeight == 1 && top >= 0 && top + 3 < inHeight && oy + 1 < outHeight) {
          // Two outputs at once, which have two of their three rows in common.
          let next = first;
          let a = v128.load(row + p0), b = v128.load(row + p1), c = v128.load(row + p2);
          sum = madd(c, w2, madd(b, w1, madd(a, w0, sum)));
          row += line;
          a = v128.load(row + p0), b = v128.load(row + p1), c = v128.load(row + p2);
          sum = madd(c, w5, madd(b, w4, madd(a, w3, sum)));
          next = madd(c, w2, madd(b, w1, madd(a, w0, next)));
          row += line;
          a = v128.load(row + p0), b = v128.load(row + p1), c = v128.load(row + p2);
          sum = madd(c, w8, madd(b, w7, madd(a, w6, sum)));
          next = madd(c, w5, madd(b, w4, madd(a, w3, next)));
          row += line;
          a = v128.load(row + p0), b = v128.load(row + p1), c = v128.load(row + p2);
          next = madd(c, w8, madd(b, w7, madd(a, w6, next)));
          if (relu) {
            sum = positive(sum);
            next = positive(next);
          }
          if (norm) column = madd(next, next, madd(sum, sum, column));
          v128.store(to, sum);
          to += <usize>outWidth * pixel;
          v128.store(to, next);
          to += <usize>outWidth * pixel;
          oy++;
          continue;
        }
        if (<u32>top < <u32>inHeight) {
          sum = madd(v128.load(row + p0), w0, sum);
          sum = madd(v128.load(row + p1), w1, sum);
          sum = madd(v128.load(row + p2), w2, sum);
        }
        row += line;
        if (<u32>(top + 1) < <u32>inHeight) {
          sum = madd(v128.load(row + p0), w3, sum);
          sum = madd(v128.load(row + p1), w4, sum);
          sum = madd(v128.load(row + p2), w5, sum);
        }
        row += line;
        if (<u32>(top + 2) < <u32>inHeight) {
          sum = madd(v128.load(row + p0), w6, sum);
          sum = madd(v128.load(row + p1), w7, sum);
          sum = madd(v128.load(row + p2), w8, sum);
        }
        if (relu) sum = positive(sum);
        if (norm) column = madd(sum, sum, column);
        v128.store(to, sum);
        to += <usize>outWidth * pixel;
      }
      squares += sum4(column);
    }
  }
  return squares;
}

export function depthwiseConv2d(
  window: Window, batch: i32, x: usize, w: usize, bias: usize, y: usize, relu: i32, norm: i32,
): f64 {
  const inHeight = window.inHeight, inWidth = window.inWidth, inChannels = window.inChannels;
  const outHeight = window.outHeight, outWidth = window.outWidth;
  const outChannels = window.outChannels, kernelHeight = window.kernelHeight;
  const kernelWidth = window.kernelWidth, strideHeight = window.strideHeight;
  const strideWidth = window.strideWidth, padTop = window.padTop, padLeft = window.padLeft;
  const multiplier = outChannels / inChannels;
  const vectors = multiplier == 1 ? inChannels & ~3 : 0;
  const tap = <usize>outChannels << 2;
  const pixel = <usize>inChannels << 2;
  let squares: f64 = 0;
  if (vectors == outChannels && kernelHeight == 3 && kernelWidth == 3) {
    for (let image = 0; image < batch; image++) {
      squares += image3x3(
        x, inHeight, inWidth, w, false, bias, y, outHeight, outWidth, inChannels, strideHeight, strideWidth, padTop,
        padLeft, relu, norm,
      );
      x += <usize>(inHeight * inWidth) * pixel;
      y += <usize>(outHeight * outWidth) * tap;
    }
    return squares;
  }
  for (let image = 0; image < batch; image++) {
    for (let oy = 0; oy < outHeight; oy++) {
      const top = oy * strideHeight - padTop;
      const ky0 = first(top), ky1 = last(top, kernelHeight, inHeight);
      for (let ox = 0; ox < outWidth; ox++) {
        const left = ox * strideWidth - padLeft;
        const kx0 = first(left), kx1 = last(left, kernelWidth, inWidth);
        const corner = x + <usize>((image * inHeight + top) * inWidth + left) * pixel;
        let c = 0;
        for (; c < vectors; c += 4) {
          const at = <usize>c << 2;
          let sum = bias ? v128.load(bias + at) : f32x4.splat(0);
          for (let ky = ky0; ky < ky1; ky++) {
            for (let kx = kx0; kx < kx1; kx++) {
              const value = v128.load(corner + <usize>(ky * inWidth + kx) * pixel + at);
              sum = madd(value, v128.load(w + <usize>(ky * kernelWidth + kx) * tap + at), sum);
            }
          }
          if (relu) sum = positive(sum);
          if (norm) squares += sum4(f32x4.mul(sum, sum));
          v128.store(y + at, sum);
        }
        for (c *= multiplier; c < outChannels; c++) {
          const at = <usize>c << 2;
          const from = corner + (<usize>(c / multiplier) << 2);
          let sum: f32 = bias ? load<f32>(bias + at) : 0;
          for (let ky = ky0; ky < ky1; ky++) {
            for (let kx = kx0; kx < kx1; kx++) {
              sum += load<f32>(from + <usize>(ky * inWidth + kx) * pixel) * load<f32>(w + <usize>(ky * kernelWidth + kx) * tap + at);
            }
          }
          if (relu) sum = sum < 0 ? 0 : sum;
          if (norm) squares += <f64>sum * <f64>sum;
          store<f32>(y + at, sum);
        }
        y += tap;
      }
    }
  }
  return squares;
}

// dx: like x. Every output adds dy w to the inputs of its window.
export function depthwiseConv2dBackpropInput(
  window: Window, batch: i32, dy: usize, w: usize, dx: usize,
): void {
  const inHeight = window.inHeight, inWidth = window.inWidth, inChannels = window.inChannels;
  const outHeight = window.outHeight, outWidth = window.outWidth;
  const outChannels = window.outChannels, kernelHeight = window.kernelHeight;
  const kernelWidth = window.kernelWidth, strideHeight = window.strideHeight;
  const strideWidth = window.strideWidth, padTop = window.padTop, padLeft = window.padLeft;
  const multiplier = outChannels / inChannels;
  const vectors = multiplier == 1 ? inChannels & ~3 : 0;
  const tap = <usize>outChannels << 2;
  const pixel = <usize>inChannels << 2;
  if (vectors == outChannels && kernelHeight == 3 && kernelWidth == 3 && strideHeight == 1 && strideWidth == 1) {
    for (let image = 0; image < batch; image++) {
      image3x3(
        dy, outHeight, outWidth, w, true, 0, dx, inHeight, inWidth, inChannels, 1, 1, 2 - padTop, 2 - padLeft, 0, 0,
      );
      dy += <usize>(outHeight * outWidth) * tap;
      dx += <usize>(inHeight * inWidth) * pixel;
    }
    return;
  }
  memory.fill(dx, 0, <usize>(batch * inHeight * inWidth) * pixel);
  for (let image = 0; image < batch; image++) {
    for (let oy = 0; oy < outHeight; oy++) {
      const top = oy * strideHeight - padTop;
      const ky0 = first(top), ky1 = last(top, kernelHeight, inHeight);
      for (let ox = 0; ox < outWidth; ox++) {
        const left = ox * strideWidth - padLeft;
        const kx0 = first(left), kx1 = last(left, kernelWidth, inWidth);
        const corner = dx + <usize>((image * inHeight + top) * inWidth + left) * pixel;
        for (let ky = ky0; ky < ky1; ky++) {
          for (let kx = kx0; kx < kx1; kx++) {
            const to = corner + <usize>(ky * inWidth + kx) * pixel;
            const weights = w + <usize>(ky * kernelWidth + kx) * tap;
            let c = 0;
            for (; c < vectors; c += 4) {
              const at = <usize>c << 2;
              v128.store(to + at, madd(v128.load(dy + at), v128.load(weights + at), v128.load(to + at)));
            }
            for (; c < inChannels; c++) {
              const at = <usize>c << 2;
              let sum: f32 = 0;
              for (let q = 0, from = <usize>(c * multiplier) << 2; q < multiplier; q++, from += 4) sum += load<f32>(dy + from) * load<f32>(weights + from);
              store<f32>(to + at, load<f32>(to + at) + sum);
            }
          }
        }
        dy += tap;
      }
    }
  }
}

/** Products that are summed in float32 before they are added in float64. */
const IN_SINGLE: i32 = 64;

/** Stores two pairs of float64 as four float32. */
@inline
function store4(to: usize, s0: v128, s1: v128): void {
  v128.store(to, v128.shuffle<i64>(f32x4.demote_f64x2_zero(s0), f32x4.demote_f64x2_zero(s1), 0, 2));
}

// Four channels of three weights beside each other, over all images, where outputs are as close as inputs: each input is read
// once for its three weights.
function filterRow3(
  x: usize, inHeight: i32, inWidth: i32, dy: usize, outHeight: i32, outWidth: i32, batch: i32, pixel: usize,
  strideHeight: i32, above: i32, padLeft: i32, dw: usize,
): void {
  const zero = f32x4.splat(0);
  const oy0 = firstOutput(above, strideHeight), oy1 = min(outHeight, firstOutput(inHeight + above, strideHeight));
  let a0 = f64x2.splat(0), a1 = f64x2.splat(0), b0 = f64x2.splat(0), b1 = f64x2.splat(0), c0 = f64x2.splat(0), c1 = f64x2.splat(0);
  let a = zero, b = zero, c = zero;
  let pending = 0;
  for (let image = 0; image < batch; image++) {
    for (let oy = oy0; oy < oy1; oy++) {
      const row = x + <usize>((image * inHeight + oy * strideHeight - above) * inWidth) * pixel;
      let gradient = dy + <usize>((image * outHeight + oy) * outWidth) * pixel;
      let x0 = loadIf(<u32>(-padLeft) < <u32>inWidth, row - <usize>padLeft * pixel);
      let x1 = loadIf(<u32>(1 - padLeft) < <u32>inWidth, row + <usize>(1 - padLeft) * pixel);
      let column = 2 - padLeft;
      for (let ox = 0; ox < outWidth; ox++) {
        const x2 = loadIf(<u32>column < <u32>inWidth, row + <usize>column * pixel);
        const g = v128.load(gradient);
        a = madd(x0, g, a);
        b = madd(x1, g, b);
        c = madd(x2, g, c);
        x0 = x1;
        x1 = x2;
        column++;
        gradient += pixel;
      }
      pending += outWidth;
      if (pending < IN_SINGLE) continue;
      pending = 0;
      a0 = f64x2.add(a0, low(a));
      a1 = f64x2.add(a1, high(a));
      b0 = f64x2.add(b0, low(b));
      b1 = f64x2.add(b1, high(b));
      c0 = f64x2.add(c0, low(c));
      c1 = f64x2.add(c1, high(c));
      a = b = c = zero;
    }
  }
  store4(dw, f64x2.add(a0, low(a)), f64x2.add(a1, high(a)));
  store4(dw + pixel, f64x2.add(b0, low(b)), f64x2.add(b1, high(b)));
  store4(dw + 2 * pixel, f64x2.add(c0, low(c)), f64x2.add(c1, high(c)));
}

// dw: like w. For every weight the sum over all outputs of x dy; a row of outputs in float32, rows
// in float64.
export function depthwiseConv2dBackpropFilter(
  window: Window, batch: i32, x: usize, dy: usize, dw: usize,
): void {
  const inHeight = window.inHeight, inWidth = window.inWidth, inChannels = window.inChannels;
  const outHeight = window.outHeight, outWidth = window.outWidth;
  const outChannels = window.outChannels, kernelHeight = window.kernelHeight;
  const kernelWidth = window.kernelWidth, strideHeight = window.strideHeight;
  const strideWidth = window.strideWidth, padTop = window.padTop, padLeft = window.padLeft;
  const multiplier = outChannels / inChannels;
  const vectors = multiplier == 1 ? inChannels & ~3 : 0;
  const outPixel = <usize>outChannels << 2;
  const pixel = <usize>inChannels << 2;
  const step = <usize>strideWidth * pixel;
  if (vectors == outChannels && kernelHeight == 3 && kernelWidth == 3 && strideWidth == 1) {
    for (let c = 0; c < vectors; c += 4) {
      const at = <usize>c << 2;
      for (let ky = 0; ky < 3; ky++) {
        filterRow3(
          x + at, inHeight, inWidth, dy + at, outHeight, outWidth, batch, pixel, strideHeight, padTop - ky, padLeft,
          dw + <usize>(3 * ky) * pixel + at,
        );
      }
    }
    return;
  }
  for (let ky = 0; ky < kernelHeight; ky++) {
    const oy0 = firstOutput(padTop - ky, strideHeight), oy1 = min(outHeight, firstOutput(inHeight + padTop - ky, strideHeight));
    for (let kx = 0; kx < kernelWidth; kx++) {
      const ox0 = firstOutput(padLeft - kx, strideWidth), ox1 = min(outWidth, firstOutput(inWidth + padLeft - kx, strideWidth));
      let c = 0;
      for (; c < vectors; c += 4) {
        const at = <usize>c << 2;
        let s0 = f64x2.splat(0), s1 = f64x2.splat(0);
        for (let image = 0; image < batch; image++) {
          for (let oy = oy0; oy < oy1; oy++) {
            let from = x + <usize>((image * inHeight + oy * strideHeight + ky - padTop) * inWidth + ox0 * strideWidth + kx - padLeft) * pixel + at;
            let gradient = dy + <usize>((image * outHeight + oy) * outWidth + ox0) * outPixel + at;
            let row = f32x4.splat(0);
            for (let ox = ox0; ox < ox1; ox++) {
              row = madd(v128.load(from), v128.load(gradient), row);
              from += step;
              gradient += outPixel;
            }
            s0 = f64x2.add(s0, low(row));
            s1 = f64x2.add(s1, high(row));
          }
        }
        store4(dw + at, s0, s1);
      }
      for (c *= multiplier; c < outChannels; c++) {
        const at = <usize>c << 2;
        let sum: f64 = 0;
        for (let image = 0; image < batch; image++) {
          for (let oy = oy0; oy < oy1; oy++) {
            let from = x + <usize>((image * inHeight + oy * strideHeight + ky - padTop) * inWidth + ox0 * strideWidth + kx - padLeft) * pixel + (<usize>(c / multiplier) << 2);
            let gradient = dy + <usize>((image * outHeight + oy) * outWidth + ox0) * outPixel + at;
            let row: f32 = 0;
            for (let ox = ox0; ox < ox1; ox++) {
              row += load<f32>(from) * load<f32>(gradient);
              from += step;
              gradient += outPixel;
            }
            sum += row;
          }
        }
        store<f32>(dw + at, <f32>sum);
      }
      dw += outPixel;
    }
  }
}

/** The first output whose window reaches `offset` or beyond: ceil(offset / stride), at least 0. */
@inline
function firstOutput(offset: i32, stride: i32): i32 {
  return offset <= 0 ? 0 : (offset + stride - 1) / stride;
}
