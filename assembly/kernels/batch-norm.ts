import { high, low, madd, positive } from "../lanes/lanes";

// What batchNorm is made of. x, y, dy, dx: [rows, columns], a row being one position of one example
// and a column a channel; all other tensors: [columns].

/** Rows whose products are added in float32. */
const BLOCK: i32 = 64;

// y[r, c] = relu?(scale[c] (x[r, c] - center[c]) + shift[c]); x and y may be the same.
export function scaleColumns(
  x: usize, center: usize, scale: usize, shift: usize, y: usize, rows: i32, columns: i32, relu: i32,
): void {
  const stride = <usize>columns << 2;
  for (; rows > 0; rows--, x += stride, y += stride) {
    let i: usize = 0;
    for (; i + 16 <= stride; i += 16) {
      const value = madd(v128.load(scale + i), f32x4.sub(v128.load(x + i), v128.load(center + i)), v128.load(shift + i));
      v128.store(y + i, relu ? positive(value) : value);
    }
    for (; i < stride; i += 4) {
      const value = load<f32>(scale + i) * (load<f32>(x + i) - load<f32>(center + i)) + load<f32>(shift + i);
      store<f32>(y + i, relu && value < 0 ? 0 : value);
    }
  }
}

// dx[r, c] = scale[c] dy[r, c] + tilt[c] (x[r, c] - center[c]) + shift[c]; dy and dx may be the same.
export function scaleColumnsBackprop(
  dy: usize, scale: usize, x: usize, center: usize, tilt: usize, shift: usize, dx: usize, rows: i32, columns: i32,
): void {
  const stride = <usize>columns << 2;
  for (; rows > 0; rows--, x += stride, dy += stride, dx += stride) {
    let i: usize = 0;
    for (; i + 16 <= stride; i += 16) {
      const rest = madd(v128.load(tilt + i), f32x4.sub(v128.load(x + i), v128.load(center + i)), v128.load(shift + i));
      v128.store(dx + i, madd(v128.load(scale + i), v128.load(dy + i), rest));
    }
    for (; i < stride; i += 4) {
      const rest = load<f32>(tilt + i) * (load<f32>(x + i) - load<f32>(center + i)) + load<f32>(shift + i);
      store<f32>(dx + i, load<f32>(scale + i) * load<f32>(dy + i) + rest);
    }
  }
}

// out[c] = sum over rows of (x[r, c] - center[c]) y[r, c]; where y is null, of (x[r, c] - center[c])^2.
export function sumColumnProducts(x: usize, center: usize, y: usize, out: usize, rows: i32, columns: i32): void {
  const stride = <usize>columns << 2;
  let i: usize = 0;
  for (; i + 16 <= stride; i += 16) {
    const center4 = v128.load(center + i);
    let s0 = f64x2.splat(0), s1 = s0;
    let at = i;
    for (let row = 0; row < rows; ) {
      let block = f32x4.splat(0);
      for (const last = min(rows, row + BLOCK); row < last; row++, at += stride) {
        const d = f32x4.sub(v128.load(x + at), center4);
        block = madd(d, y ? v128.load(y + at) : d, block);
      }
      s0 = f64x2.add(s0, low(block));
      s1 = f64x2.add(s1, high(block));
    }
    v128.store(out + i, v128.shuffle<i64>(f32x4.demote_f64x2_zero(s0), f32x4.demote_f64x2_zero(s1), 0, 2));
  }
  for (; i < stride; i += 4) {
    let sum: f64 = 0;
    let at = i;
    for (let row = 0; row < rows; row++, at += stride) {
      const d = load<f32>(x + at) - load<f32>(center + i);
      sum += <f64>d * <f64>(y ? load<f32>(y + at) : d);
    }
    store<f32>(out + i, <f32>sum);
  }
}
