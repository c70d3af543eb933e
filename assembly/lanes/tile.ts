import { madd, positive, sum4 } from "./lanes";

// The register tile that GEMM and the convolutions are made of: up to ROWS x 8 elements of C = A B stay in registers while
// the loop runs over the inner dimension.
//
// A: row i begins at load<u32>(aRows + 4 i) + aOffset. A row is `segments` runs of `length` floats, `segmentStride` bytes apart:
//    one run for a matrix, one per kernel row for a convolution, which so needs no im2col.
// B: packed panels of 8 columns (the last one 4 if at most 4 are left, filled up with zeros), [segments * length][8].
// C: row i begins at load<u32>(cRows + 4 i) + cOffset. Rows may overlap each other when `ACCUMULATE` is set: they are added
//    to one after the other.

/** Rows of the register tile: what fits into the 16 registers of x86-64 next to two vectors of B and one of A. */
export const ROWS: i32 = 5;

/** Add to what C holds. */
export const ACCUMULATE: i32 = 1;
/** Store max(c, 0). */
export const RELU: i32 = 2;
/** Add the squares of what is stored to `squares`. */
export const NORM: i32 = 4;

/** Sum of the squares of everything stored with NORM since it was last set to 0. */
export let squares: f64 = 0;
export function clearSquares(): void {
  squares = 0;
}

@inline
function finish(c: usize, x: v128, flags: i32): v128 {
  if (flags & ACCUMULATE) x = f32x4.add(x, v128.load(c));
  if (flags & RELU) x = positive(x);
  v128.store(c, x);
  return x;
}

/** One tile; `rows` (1 to ROWS) and `wide` (8 columns, or 4) are constants where this is called. */
@inline
function tile(
  rows: i32,
  wide: bool,
  aRows: usize,
  aOffset: usize,
  segments: i32,
  segmentStride: usize,
  length: i32,
  b: usize,
  cRows: usize,
  cOffset: usize,
  bias: usize,
  flags: i32,
): void {
  let c00 = f32x4.splat(0);
  let c01 = f32x4.splat(0);
  if (bias) {
    c00 = v128.load(bias);
    if (wide) c01 = v128.load(bias, 16);
  }
  let c10 = c00, c11 = c01;
  let c20 = c00, c21 = c01;
  let c30 = c00, c31 = c01;
  let c40 = c00, c41 = c01;
  for (let segment = 0; segment < segments; segment++) {
    let a0 = <usize>load<u32>(aRows) + aOffset;
    let a1: usize = 0, a2: usize = 0, a3: usize = 0, a4: usize = 0;
    if (rows > 1) a1 = <usize>load<u32>(aRows, 4) + aOffset;
    if (rows > 2) a2 = <usize>load<u32>(aRows, 8) + aOffset;
    if (rows > 3) a3 = <usize>load<u32>(aRows, 12) + aOffset;
    if (rows > 4) a4 = <usize>load<u32>(aRows, 16) + aOffset;
    for (let p = 0; p < length; p++) {
      const b0 = v128.load(b);
      let b1 = b0;
      if (wide) b1 = v128.load(b, 16);
      b += wide ? 32 : 16;
      const x0 = v128.load32_splat(a0);
      c00 = madd(x0, b0, c00);
      if (wide) c01 = madd(x0, b1, c01);
      a0 += 4;
      if (rows > 1) {
        const x1 = v128.load32_splat(a1);
        c10 = madd(x1, b0, c10);
        if (wide) c11 = madd(x1, b1, c11);
        a1 += 4;
      }
      if (rows > 2) {
        const x2 = v128.load32_splat(a2);
        c20 = madd(x2, b0, c20);
        if (wide) c21 = madd(x2, b1, c21);
        a2 += 4;
      }
      if (rows > 3) {
        const x3 = v128.load32_splat(a3);
        c30 = madd(x3, b0, c30);
        if (wide) c31 = madd(x3, b1, c31);
        a3 += 4;
      }
      if (rows > 4) {
        const x4 = v128.load32_splat(a4);
        c40 = madd(x4, b0, c40);
        if (wide) c41 = madd(x4, b1, c41);
        a4 += 4;
      }
    }
    aOffset += segmentStride;
  }
  const c0 = <usize>load<u32>(cRows) + cOffset;
  c00 = finish(c0, c00, flags);
  if (wide) c01 = finish(c0 + 16, c01, flags);
  if (rows > 1) {
    const c1 = <usize>load<u32>(cRows, 4) + cOffset;
    c10 = finish(c1, c10, flags);
    if (wide) c11 = finish(c1 + 16, c11, flags);
  }
  if (rows > 2) {
    const c2 = <usize>load<u32>(cRows, 8) + cOffset;
    c20 = finish(c2, c20, flags);
    if (wide) c21 = finish(c2 + 16, c21, flags);
  }
  if (rows > 3) {
    const c3 = <usize>load<u32>(cRows, 12) + cOffset;
    c30 = finish(c3, c30, flags);
    if (wide) c31 = finish(c3 + 16, c31, flags);
  }
  if (rows > 4) {
    const c4 = <usize>load<u32>(cRows, 16) + cOffset;
    c40 = finish(c4, c40, flags);
    if (wide) c41 = finish(c4 + 16, c41, flags);
  }
  if (flags & NORM) {
    let sum = f32x4.mul(c00, c00);
    if (wide) sum = madd(c01, c01, sum);
    if (rows > 1) {
      sum = madd(c10, c10, sum);
      if (wide) sum = madd(c11, c11, sum);
    }
    if (rows > 2) {
      sum = madd(c20, c20, sum);
      if (wide) sum = madd(c21, c21, sum);
    }
    if (rows > 3) {
      sum = madd(c30, c30, sum);
      if (wide) sum = madd(c31, c31, sum);
    }
    if (rows > 4) {
      sum = madd(c40, c40, sum);
      if (wide) sum = madd(c41, c41, sum);
    }
    squares += sum4(sum);
  }
}

/** All rows of one panel of 8 (or 4) columns. */
@inline
function panel(
  wide: bool,
  aRows: usize,
  aOffset: usize,
  segments: i32,
  segmentStride: usize,
  length: i32,
  b: usize,
  m: i32,
  cRows: usize,
  cOffset: usize,
  bias: usize,
  flags: i32,
): void {
  let i = 0;
  for (; i + 5 <= m; i += 5) {
    tile(5, wide, aRows, aOffset, segments, segmentStride, length, b, cRows, cOffset, bias, flags);
    aRows += 20;
    cRows += 20;
  }
  const rest = m - i;
  if (rest == 4) tile(4, wide, aRows, aOffset, segments, segmentStride, length, b, cRows, cOffset, bias, flags);
  else if (rest == 3) tile(3, wide, aRows, aOffset, segments, segmentStride, length, b, cRows, cOffset, bias, flags);
  else if (rest == 2) tile(2, wide, aRows, aOffset, segments, segmentStride, length, b, cRows, cOffset, bias, flags);
  else if (rest == 1) tile(1, wide, aRows, aOffset, segments, segmentStride, length, b, cRows, cOffset, bias, flags);
}

function widePanel(
  aRows: usize, aOffset: usize, segments: i32, segmentStride: usize, length: i32,
  b: usize, m: i32, cRows: usize, cOffset: usize, bias: usize, flags: i32,
): void {
  panel(true, aRows, aOffset, segments, segmentStride, length, b, m, cRows, cOffset, bias, flags);
}

function narrowPanel(
  aRows: usize, aOffset: usize, segments: i32, segmentStride: usize, length: i32,
  b: usize, m: i32, cRows: usize, cOffset: usize, bias: usize, flags: i32,
): void {
  panel(false, aRows, aOffset, segments, segmentStride, length, b, m, cRows, cOffset, bias, flags);
}

/**
 * C = A B for m rows and n columns, B packed (pack.ts). `edge` is EDGE_BYTES of scratch, in which a last panel of 1, 2, 3, 5, 6
 * or 7 columns is computed before its columns are copied to C.
 */
export function multiply(
  aRows: usize, aOffset: usize, segments: i32, segmentStride: usize, length: i32,
  b: usize, m: i32, n: i32, cRows: usize, cOffset: usize, bias: usize, flags: i32, edge: usize,
): void {
  let j = 0;
  const panelBytes = <usize>(segments * length) << 5;
  for (; j + 8 <= n; j += 8) {
    widePanel(aRows, aOffset, segments, segmentStride, length, b, m, cRows, cOffset, bias, flags);
    b += panelBytes;
    cOffset += 32;
    if (bias) bias += 32;
  }
  const rest = n - j;
  if (rest == 4) narrowPanel(aRows, aOffset, segments, segmentStride, length, b, m, cRows, cOffset, bias, flags);
  else if (rest > 0) {
    for (let i = 0; i < ROWS; i++) store<u32>(edge + (i << 2), <u32>(edge + 32 + (i << 5)));
    for (let i = 0; i < m; i += ROWS) {
      const rows = min(ROWS, m - i);
      if (rest > 4) widePanel(aRows, aOffset, segments, segmentStride, length, b, rows, edge, 0, 0, 0);
      else narrowPanel(aRows, aOffset, segments, segmentStride, length, b, rows, edge, 0, 0, 0);
      for (let row = 0; row < rows; row++) {
        const c = <usize>load<u32>(cRows + (row << 2)) + cOffset;
        const from = <usize>load<u32>(edge + (row << 2));
        for (let column: usize = 0; column < <usize>rest << 2; column += 4) {
          let x = load<f32>(from + column);
          if (bias) x += load<f32>(bias + column);
          if (flags & ACCUMULATE) x += load<f32>(c + column);
          if (flags & RELU) x = x < 0 ? 0 : x;
          if (flags & NORM) squares += <f64>x * <f64>x;
          store<f32>(c + column, x);
        }
      }
      aRows += ROWS << 2;
      cRows += ROWS << 2;
    }
  }
}

/** Scratch that `multiply` needs for a last panel: a table of rows and one tile. */
export const EDGE_BYTES: usize = 32 + 32 * 8;
