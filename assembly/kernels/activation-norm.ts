import { madd, positive, sum4 } from "../lanes/lanes";
import { dot } from "./vector";

// MAN's forward term and its gradient, joined with ReLU so that neither costs a pass of its own.
// All vectors have `size` floats.

// y[i] = max(x[i], 0); returns the sum of y[i]^2 if norm, else 0. x and y may be the same.
export function relu(x: usize, y: usize, size: i32, norm: i32): f64 {
  const end = x + (<usize>size << 2);
  let sum: f64 = 0;
  if (!norm) {
    for (; x + 16 <= end; x += 16, y += 16) v128.store(y, positive(v128.load(x)));
  } else {
    while (x + 16 <= end) {
      // Short float32 sums, added up in float64.
      let squares = f32x4.splat(0);
      for (const last = min(end - 15, x + 512); x < last; x += 16, y += 16) {
        const v = positive(v128.load(x));
        v128.store(y, v);
        squares = madd(v, v, squares);
      }
      sum += sum4(squares);
    }
  }
  for (; x < end; x += 4, y += 4) {
    const v = load<f32>(x);
    const kept: f32 = v < 0 ? 0 : v;
    store<f32>(y, kept);
    if (norm) sum += <f64>kept * <f64>kept;
  }
  return sum;
}

/** dz of four lanes. */
@inline
function masked(a: v128, dy: v128, coefficient: v128): v128 {
  return v128.and(madd(coefficient, a, dy), f32x4.gt(a, f32x4.splat(0)));
}

@inline
function masked1(a: f32, dy: f32, coefficient: f32): f32 {
  return a > 0 ? dy + coefficient * a : 0;
}

// dz[i] = (dy[i] + coefficient a[i]) (a[i] > 0). dy and dz may be the same.
export function reluBackprop(a: usize, dy: usize, dz: usize, size: i32, coefficient: f32): void {
  const c = f32x4.splat(coefficient);
  const end = a + (<usize>size << 2);
  for (; a + 16 <= end; a += 16, dy += 16, dz += 16) v128.store(dz, masked(v128.load(a), v128.load(dy), c));
  for (; a < end; a += 4, dy += 4, dz += 4) store<f32>(dz, masked1(load<f32>(a), load<f32>(dy), coefficient));
}

/** Rows that are summed before they are added to a bias' gradient. */
export const ROWS_AT_ONCE: i32 = 32;

// dz as in reluBackprop over [rows, columns], and dbias[column] = sum over rows of dz[row, column],
// in one pass.
export function reluBackpropSumRows(a: usize, dy: usize, dz: usize, dbias: usize, rows: i32, columns: i32, coefficient: f32): void {
  const c = f32x4.splat(coefficient);
  const stride = <usize>columns << 2;
  memory.fill(dbias, 0, stride);
  for (let row = 0; row < rows; row += ROWS_AT_ONCE) {
    const count = min(ROWS_AT_ONCE, rows - row);
    let column: usize = 0;
    for (; column + 16 <= stride; column += 16) {
      let sum = f32x4.splat(0);
      for (let i = 0, at = column; i < count; i++, at += stride) {
        const v = masked(v128.load(a + at), v128.load(dy + at), c);
        v128.store(dz + at, v);
        sum = f32x4.add(sum, v);
      }
      v128.store(dbias + column, f32x4.add(v128.load(dbias + column), sum));
    }
    for (; column < stride; column += 4) {
      let sum: f32 = 0;
      for (let i = 0, at = column; i < count; i++, at += stride) {
        const v = masked1(load<f32>(a + at), load<f32>(dy + at), coefficient);
        store<f32>(dz + at, v);
        sum += v;
      }
      store<f32>(dbias + column, load<f32>(dbias + column) + sum);
    }
    const block = <usize>count * stride;
    a += block;
    dy += block;
    dz += block;
  }
}

// sum of x[i]^2
export function squaredNorm(x: usize, size: i32): f64 {
  return dot(x, x, size);
}
