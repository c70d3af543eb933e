import { Window } from "../lanes/geometry";
import { reluBackpropSumRows, ROWS_AT_ONCE } from "./activation-norm";
import { copyRun } from "../lanes/pack";

// Windows over [batch, inHeight, inWidth, channels] giving [batch, outHeight, outWidth, channels],
// channel by channel; the window of output (oy, ox) begins at (oy strideHeight - padTop, ox
// strideWidth - padLeft), and only its part inside the image counts.
//
// Four channels at a time, then one at a time.

// y = the largest element of the window. argmax (int32, like y, may be null): its index into x, the
// first if several are equal.
export function maxPool(window: Window, batch: i32, x: usize, y: usize, argmax: usize): void {
  const inHeight = window.inHeight, inWidth = window.inWidth, channels = window.inChannels;
  const outHeight = window.outHeight, outWidth = window.outWidth;
  const kernelHeight = window.kernelHeight, kernelWidth = window.kernelWidth;
  const strideHeight = window.strideHeight, strideWidth = window.strideWidth;
  const padTop = window.padTop, padLeft = window.padLeft;
  for (let image = 0; image < batch; image++) {
    for (let oy = 0; oy < outHeight; oy++) {
      const top = oy * strideHeight - padTop;
      const y0 = image * inHeight + max(0, top), y1 = image * inHeight + min(inHeight, top + kernelHeight);
      for (let ox = 0; ox < outWidth; ox++) {
        const left = ox * strideWidth - padLeft;
        const x0 = max(0, left), x1 = min(inWidth, left + kernelWidth);
        for (let iy = y0; iy < y1; iy++) {
          for (let ix = x0; ix < x1; ix++) {
            const at = (iy * inWidth + ix) * channels;
            if (iy == y0 && ix == x0) take(x, at, y, argmax, channels);
            else takeLarger(x, at, y, argmax, channels);
          }
        }
        y += <usize>channels << 2;
        if (argmax) argmax += <usize>channels << 2;
      }
    }
  }
}

/** The first element of a window, for all channels: y = x from index `at` on. */
function take(x: usize, at: i32, y: usize, argmax: usize, channels: i32): void {
  const from = x + (<usize>at << 2);
  const size = <usize>channels << 2;
  copyRun(from, y, channels);
  if (!argmax) return;
  let index = i32x4.add(i32x4.splat(at), i32x4(0, 1, 2, 3));
  let i: usize = 0;
  for (; i + 16 <= size; i += 16) {
    v128.store(argmax + i, index);
    index = i32x4.add(index, i32x4.splat(4));
  }
  for (; i < size; i += 4) store<i32>(argmax + i, at + <i32>(i >> 2));
}

/** Each further element, where it is larger. */
function takeLarger(x: usize, at: i32, y: usize, argmax: usize, channels: i32): void {
  const size = <usize>channels << 2;
  let from = x + (<usize>at << 2);
  let i: usize = 0;
  if (argmax) {
    let index = i32x4.add(i32x4.splat(at), i32x4(0, 1, 2, 3));
    for (; i + 16 <= size; i += 16) {
      const value = v128.load(from + i);
      const best = v128.load(y + i);
      const larger = f32x4.gt(value, best);
      v128.store(y + i, v128.bitselect(value, best, larger));
      v128.store(argmax + i, v128.bitselect(index, v128.load(argmax + i), larger));
      index = i32x4.add(index, i32x4.splat(4));
    }
  } else {
    // pmax(best, value) is value where best < value.
    for (; i + 16 <= size; i += 16) v128.store(y + i, f32x4.pmax(v128.load(y + i), v128.load(from + i)));
  }
  for (; i < size; i += 4) {
    const value = load<f32>(from + i);
    if (value > load<f32>(y + i)) {
      store<f32>(y + i, value);
      if (argmax) store<i32>(argmax + i, at + <i32>(i >> 2));
    }
  }
}

// dx = 0 for inSize elements, then dx[argmax[i]] += dy[i] for outSize elements.
export function maxPoolBackprop(dy: usize, argmax: usize, dx: usize, inSize: i32, outSize: i32): void {
  memory.fill(dx, 0, <usize>inSize << 2);
  scatterAdd(dy, argmax, dx, outSize);
}

// dx[argmax[i]] += dy[i] for outSize elements.
function scatterAdd(dy: usize, argmax: usize, dx: usize, outSize: i32): void {
  for (const end = dy + (<usize>outSize << 2); dy < end; dy += 4, argmax += 4) {
    const to = dx + (<usize>load<u32>(argmax) << 2);
    store<f32>(to, load<f32>(to) + load<f32>(dy));
  }
}

// x *= coefficient, and out[column] += the sum of its rows.
function scaleSumRows(x: usize, out: usize, rows: i32, columns: i32, coefficient: f32): void {
  const c = f32x4.splat(coefficient);
  const stride = <usize>columns << 2;
  for (let row = 0; row < rows; row += ROWS_AT_ONCE) {
    const count = min(ROWS_AT_ONCE, rows - row);
    let column: usize = 0;
    for (; column + 16 <= stride; column += 16) {
      let sum = f32x4.splat(0);
      for (let i = 0, at = x + column; i < count; i++, at += stride) {
        const v = f32x4.mul(c, v128.load(at));
        v128.store(at, v);
        sum = f32x4.add(sum, v);
      }
      v128.store(out + column, f32x4.add(v128.load(out + column), sum));
    }
    for (; column < stride; column += 4) {
      let sum: f32 = 0;
      for (let i = 0, at = x + column; i < count; i++, at += stride) {
        const v = coefficient * load<f32>(at);
        store<f32>(at, v);
        sum += v;
      }
      store<f32>(out + column, load<f32>(out + column) + sum);
    }
    x += <usize>count * stride;
  }
}

// The gradient through max-pool and the ReLU before it, in the place of the ReLU's output a (inSize
// elements, rows of `channels`): a becomes (scattered dy + coefficient a) (a > 0), and
// dbias[channel] the sum of its rows. pooled: max-pool's output, whose sign is that of a at argmax;
// dy is masked by it in place.
export function maxPoolReluBackprop(
  a: usize, pooled: usize, dy: usize, argmax: usize, dbias: usize, inSize: i32, outSize: i32, channels: i32, coefficient: f32,
): void {
  reluBackpropSumRows(pooled, dy, dy, dbias, outSize / channels, channels, 0);
  if (coefficient == 0) memory.fill(a, 0, <usize>inSize << 2);
  else scaleSumRows(a, dbias, inSize / channels, channels, coefficient);
  scatterAdd(dy, argmax, a, outSize);
}

// y[i] = x[index[i]]; index: int32 [size].
export function gatherByIndex(x: usize, index: usize, y: usize, size: i32): void {
  for (const end = y + (<usize>size << 2); y < end; y += 4, index += 4) store<f32>(y, load<f32>(x + (<usize>load<u32>(index) << 2)));
}

// y = the mean of the window.
export function avgPool(window: Window, batch: i32, x: usize, y: usize): void {
  const inHeight = window.inHeight, inWidth = window.inWidth, channels = window.inChannels;
  const outHeight = window.outHeight, outWidth = window.outWidth;
  const kernelHeight = window.kernelHeight, kernelWidth = window.kernelWidth;
  const strideHeight = window.strideHeight, strideWidth = window.strideWidth;
  const padTop = window.padTop, padLeft = window.padLeft;
  for (let image = 0; image < batch; image++) {
    for (let oy = 0; oy < outHeight; oy++) {
      const top = oy * strideHeight - padTop;
      const y0 = max(0, top), y1 = min(inHeight, top + kernelHeight);
      for (let ox = 0; ox < outWidth; ox++) {
        const left = ox * strideWidth - padLeft;
        const x0 = max(0, left), x1 = min(inWidth, left + kernelWidth);
        const share: f32 = 1 / <f32>((y1 - y0) * (x1 - x0));
        let c = 0;
        for (; c + 4 <= channels; c += 4) {
          let sum = f32x4.splat(0);
          for (let iy = y0; iy < y1; iy++) {
            for (let ix = x0; ix < x1; ix++) {
              sum = f32x4.add(sum, v128.load(x + (<usize>(((image * inHeight + iy) * inWidth + ix) * channels + c) << 2)));
            }
          }
          v128.store(y, f32x4.mul(sum, f32x4.splat(share)));
          y += 16;
        }
        for (; c < channels; c++) {
          let sum: f32 = 0;
          for (let iy = y0; iy < y1; iy++) {
            for (let ix = x0; ix < x1; ix++) {
              sum += load<f32>(x + (<usize>(((image * inHeight + iy) * inWidth + ix) * channels + c) << 2));
            }
          }
          store<f32>(y, sum * share);
          y += 4;
        }
      }
    }
  }
}

// dx = 0, then every output adds its share of dy to the elements of its window.
export function avgPoolBackprop(window: Window, batch: i32, dy: usize, dx: usize): void {
  const inHeight = window.inHeight, inWidth = window.inWidth, channels = window.inChannels;
  const outHeight = window.outHeight, outWidth = window.outWidth;
  const kernelHeight = window.kernelHeight, kernelWidth = window.kernelWidth;
  const strideHeight = window.strideHeight, strideWidth = window.strideWidth;
  const padTop = window.padTop, padLeft = window.padLeft;
  memory.fill(dx, 0, <usize>(batch * inHeight * inWidth * channels) << 2);
  const pixel = <usize>channels << 2;
  for (let image = 0; image < batch; image++) {
    for (let oy = 0; oy < outHeight; oy++) {
      const top = oy * strideHeight - padTop;
      const y0 = max(0, top), y1 = min(inHeight, top + kernelHeight);
      for (let ox = 0; ox < outWidth; ox++) {
        const left = ox * strideWidth - padLeft;
        const x0 = max(0, left), x1 = min(inWidth, left + kernelWidth);
        const share: f32 = 1 / <f32>((y1 - y0) * (x1 - x0));
        for (let iy = y0; iy < y1; iy++) {
          for (let ix = x0; ix < x1; ix++) {
            const to = dx + <usize>((image * inHeight + iy) * inWidth + ix) * pixel;
            let c: usize = 0;
            for (; c + 16 <= pixel; c += 16)
              v128.store(to + c, f32x4.add(v128.load(to + c), f32x4.mul(v128.load(dy + c), f32x4.splat(share))));
            for (; c < pixel; c += 4) store<f32>(to + c, load<f32>(to + c) + load<f32>(dy + c) * share);
          }
        }
        dy += pixel;
      }
    }
  }
}
