import { high, low, madd, sum2 } from "../lanes/lanes";

// Vectors of `size` floats; a matrix [rows, columns] is row-major. Four lanes at a time, then one
// at a time: nothing behind the end is read or written. Sums run in float64, four accumulators of
// two lanes, so that they keep their accuracy over millions.

// y[i] += coefficient x[i]
export function axpy(y: usize, x: usize, size: i32, coefficient: f32): void {
  const a = f32x4.splat(coefficient);
  const end = y + (<usize>size << 2);
  for (; y + 16 <= end; y += 16, x += 16) v128.store(y, madd(a, v128.load(x), v128.load(y)));
  for (; y < end; y += 4, x += 4) store<f32>(y, load<f32>(y) + coefficient * load<f32>(x));
}

// y[i] = x1[i] x2[i]
export function multiply(y: usize, x1: usize, x2: usize, size: i32): void {
  const end = y + (<usize>size << 2);
  for (; y + 16 <= end; y += 16, x1 += 16, x2 += 16) v128.store(y, f32x4.mul(v128.load(x1), v128.load(x2)));
  for (; y < end; y += 4, x1 += 4, x2 += 4) store<f32>(y, load<f32>(x1) * load<f32>(x2));
}

// sum of x[i] y[i]
export function dot(x: usize, y: usize, size: i32): f64 {
  let s0 = f64x2.splat(0), s1 = f64x2.splat(0), s2 = f64x2.splat(0), s3 = f64x2.splat(0);
  const end = x + (<usize>size << 2);
  for (; x + 32 <= end; x += 32, y += 32) {
    const x0 = v128.load(x), x1 = v128.load(x, 16);
    const y0 = v128.load(y), y1 = v128.load(y, 16);
    s0 = f64x2.add(s0, f64x2.mul(low(x0), low(y0)));
    s1 = f64x2.add(s1, f64x2.mul(high(x0), high(y0)));
    s2 = f64x2.add(s2, f64x2.mul(low(x1), low(y1)));
    s3 = f64x2.add(s3, f64x2.mul(high(x1), high(y1)));
  }
  let sum = sum2(f64x2.add(f64x2.add(s0, s1), f64x2.add(s2, s3)));
  for (; x < end; x += 4, y += 4) sum += <f64>load<f32>(x) * <f64>load<f32>(y);
  return sum;
}

/** Stores four sums as floats. */
@inline
function store4(to: usize, s0: v128, s1: v128): void {
  v128.store(to, v128.shuffle<i64>(f32x4.demote_f64x2_zero(s0), f32x4.demote_f64x2_zero(s1), 0, 2));
}

/** sumRows of 16 columns, or of 4. */
@inline
function sumColumns(wide: bool, from: usize, to: usize, rows: i32, stride: usize): void {
  let s0 = f64x2.splat(0), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;
  for (let row = 0; row < rows; ) {
    let b0 = f32x4.splat(0), b1 = b0, b2 = b0, b3 = b0;
    for (const last = min(rows, row + 64); row < last; row++) {
      b0 = f32x4.add(b0, v128.load(from));
      if (wide) {
        b1 = f32x4.add(b1, v128.load(from, 16));
        b2 = f32x4.add(b2, v128.load(from, 32));
        b3 = f32x4.add(b3, v128.load(from, 48));
      }
      from += stride;
    }
    s0 = f64x2.add(s0, low(b0));
    s1 = f64x2.add(s1, high(b0));
    if (wide) {
      s2 = f64x2.add(s2, low(b1));
      s3 = f64x2.add(s3, high(b1));
      s4 = f64x2.add(s4, low(b2));
      s5 = f64x2.add(s5, high(b2));
      s6 = f64x2.add(s6, low(b3));
      s7 = f64x2.add(s7, high(b3));
    }
  }
  store4(to, s0, s1);
  if (wide) {
    store4(to + 16, s2, s3);
    store4(to + 32, s4, s5);
    store4(to + 48, s6, s7);
  }
}

// out[column] = sum over rows of x[row, column]; blocks of rows are summed in float32 and added up
// in float64 order of blocks, so that the error grows with the block and not with the number of
// rows.
export function sumRows(x: usize, out: usize, rows: i32, columns: i32): void {
  const stride = <usize>columns << 2;
  let column = 0;
  // A cache line of each row at once.
  for (; column + 16 <= columns; column += 16) sumColumns(true, x + (<usize>column << 2), out + (<usize>column << 2), rows, stride);
  for (; column + 4 <= columns; column += 4) sumColumns(false, x + (<usize>column << 2), out + (<usize>column << 2), rows, stride);
  for (; column < columns; column++) {
    let sum: f64 = 0;
    let from = x + (<usize>column << 2);
    for (let row = 0; row < rows; row++) {
      sum += load<f32>(from);
      from += stride;
    }
    store<f32>(out + (<usize>column << 2), <f32>sum);
  }
}

// out[s, :] = sum of x[row, :] over rows with segmentIds[row] = s; ids outside [0, segments) are
// left out. segmentIds: int32 [rows].
export function unsortedSegmentSum(x: usize, segmentIds: usize, out: usize, rows: i32, columns: i32, segments: i32): void {
  const stride = <usize>columns << 2;
  memory.fill(out, 0, <usize>segments * stride);
  for (let row = 0; row < rows; row++) {
    const segment = load<i32>(segmentIds + (<usize>row << 2));
    if (<u32>segment < <u32>segments) axpy(out + <usize>segment * stride, x, columns, 1);
    x += stride;
  }
}
