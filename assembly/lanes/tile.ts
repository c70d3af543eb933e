import { madd, positive, sum4 } from "./lanes";

// The register tile that GEMM and the convolutions are made of: ROWS x 8 elements of C = A B stay in registers while the loop
// runs over the inner dimension.
//
// A lies in one of two forms, either of which may lie anywhere, so a convolution needs no im2col:
//    by rows: row i is `length` floats at load<u32>(aTable + 4 i) + aOffset;
//    by columns (A transposed): column p, for p < length, begins at load<u32>(aTable + 4 p) + aOffset.
// B: packed panels of 8 columns (pack.ts; the last one 4 if at most 4 are left, filled up with zeros), each [length][8].
// C: row i begins at load<u32>(cRows + 4 i) + cOffset. Rows may overlap each other when `ACCUMULATE` is set: they are added to
//    one after the other.
//
// V8 keeps all of this in registers only while the loop is alone in its function: inside another loop it unrolls it and moves all
// loads to the front (24 instead of 54 GFLOP/s on Node 20). So no loop surrounds `tile`, and the functions of a full tile are each called from two places,
// which keeps the compiler from moving it into one of them.

/**
 * Rows of the register tile: what fits into the 16 registers of x86-64; a product before its
 * addition takes one more.
 */
export const ROWS: i32 = ASC_FEATURE_RELAXED_SIMD ? 6 : 5;

/** Add to what C holds. */
export const ACCUMULATE: i32 = 1;
/** Store max(c, 0). */
export const RELU: i32 = 2;
/** Add the squares of what is stored to `squares`. */
export const NORM: i32 = 4;

/** Sum of the squares of everything stored with NORM since `clearSquares`. */
export let squares: f64 = 0;
export function clearSquares(): void {
  squares = 0;
}

/** Fills a table with `count` addresses. */
export function tabulate(table: usize, count: i32, address: usize, step: usize): void {
  for (; count > 0; count--) {
    store<u32>(table, <u32>address);
    table += 4;
    address += step;
  }
}

/** Stores 8 (or 4) elements of a row of C. */
@inline
function put(wide: bool, c: usize, x0: v128, x1: v128): void {
  v128.store(c, x0);
  if (wide) v128.store(c, x1, 16);
}

/** Adds them. */
@inline
function add(wide: bool, c: usize, x0: v128, x1: v128): void {
  v128.store(c, f32x4.add(v128.load(c), x0));
  if (wide) v128.store(c, f32x4.add(v128.load(c, 16), x1), 16);
}

/**
 * Stores or adds them as `flags` asks; returns the sum of their squares on four
 * lanes.
 */
@inline
function finish(wide: bool, c: usize, x0: v128, x1: v128, flags: i32): v128 {
  if (flags & ACCUMULATE) {
    x0 = f32x4.add(v128.load(c), x0);
    if (wide) x1 = f32x4.add(v128.load(c, 16), x1);
  }
  if (flags & RELU) {
    x0 = positive(x0);
    if (wide) x1 = positive(x1);
  }
  put(wide, c, x0, x1);
  return wide ? madd(x1, x1, f32x4.mul(x0, x0)) : f32x4.mul(x0, x0);
}

/**
 * `byColumns`, `rows` (1 to ROWS) and `wide` (8 columns, or 4) are constants where this is called.
 */
@inline
function tile(
  byColumns: bool, rows: i32, wide: bool,
  aTable: usize, aOffset: usize, length: i32, b: usize, cRows: usize, cOffset: usize, bias: usize, flags: i32,
): void {
  let c00 = f32x4.splat(0);
  let c01 = c00;
  if (bias) {
    c00 = v128.load(bias);
    if (wide) c01 = v128.load(bias, 16);
  }
  let c10 = c00, c11 = c01;
  let c20 = c00, c21 = c01;
  let c30 = c00, c31 = c01;
  let c40 = c00, c41 = c01;
  let c50 = c00, c51 = c01;
  if (byColumns) {
    for (let p = 0; p < length; p++) {
      const a = <usize>load<u32>(aTable) + aOffset;
      aTable += 4;
      const b0 = v128.load(b);
      const b1 = wide ? v128.load(b, 16) : b0;
      b += wide ? 32 : 16;
      const x0 = v128.load32_splat(a);
      c00 = madd(x0, b0, c00);
      if (wide) c01 = madd(x0, b1, c01);
      if (rows > 1) {
        const x1 = v128.load32_splat(a, 4);
        c10 = madd(x1, b0, c10);
        if (wide) c11 = madd(x1, b1, c11);
      }
      if (rows > 2) {
        const x2 = v128.load32_splat(a, 8);
        c20 = madd(x2, b0, c20);
        if (wide) c21 = madd(x2, b1, c21);
      }
      if (rows > 3) {
        const x3 = v128.load32_splat(a, 12);
        c30 = madd(x3, b0, c30);
        if (wide) c31 = madd(x3, b1, c31);
      }
      if (rows > 4) {
        const x4 = v128.load32_splat(a, 16);
        c40 = madd(x4, b0, c40);
        if (wide) c41 = madd(x4, b1, c41);
      }
      if (rows > 5) {
        const x5 = v128.load32_splat(a, 20);
        c50 = madd(x5, b0, c50);
        if (wide) c51 = madd(x5, b1, c51);
      }
    }
  } else {
    let a0 = <usize>load<u32>(aTable) + aOffset;
    let a1: usize = rows > 1 ? <usize>load<u32>(aTable, 4) + aOffset : 0;
    let a2: usize = rows > 2 ? <usize>load<u32>(aTable, 8) + aOffset : 0;
    let a3: usize = rows > 3 ? <usize>load<u32>(aTable, 12) + aOffset : 0;
    let a4: usize = rows > 4 ? <usize>load<u32>(aTable, 16) + aOffset : 0;
    let a5: usize = rows > 5 ? <usize>load<u32>(aTable, 20) + aOffset : 0;
    for (let p = 0; p < length; p++) {
      const b0 = v128.load(b);
      const b1 = wide ? v128.load(b, 16) : b0;
      b += wide ? 32 : 16;
      const x0 = v128.load32_splat(a0);
      a0 += 4;
      c00 = madd(x0, b0, c00);
      if (wide) c01 = madd(x0, b1, c01);
      if (rows > 1) {
        const x1 = v128.load32_splat(a1);
        a1 += 4;
        c10 = madd(x1, b0, c10);
        if (wide) c11 = madd(x1, b1, c11);
      }
      if (rows > 2) {
        const x2 = v128.load32_splat(a2);
        a2 += 4;
        c20 = madd(x2, b0, c20);
        if (wide) c21 = madd(x2, b1, c21);
      }
      if (rows > 3) {
        const x3 = v128.load32_splat(a3);
        a3 += 4;
        c30 = madd(x3, b0, c30);
        if (wide) c31 = madd(x3, b1, c31);
      }
      if (rows > 4) {
        const x4 = v128.load32_splat(a4);
        a4 += 4;
        c40 = madd(x4, b0, c40);
        if (wide) c41 = madd(x4, b1, c41);
      }
      if (rows > 5) {
        const x5 = v128.load32_splat(a5);
        a5 += 4;
        c50 = madd(x5, b0, c50);
        if (wide) c51 = madd(x5, b1, c51);
      }
    }
  }
  const r0 = <usize>load<u32>(cRows) + cOffset;
  const r1: usize = rows > 1 ? <usize>load<u32>(cRows, 4) + cOffset : 0;
  const r2: usize = rows > 2 ? <usize>load<u32>(cRows, 8) + cOffset : 0;
  const r3: usize = rows > 3 ? <usize>load<u32>(cRows, 12) + cOffset : 0;
  const r4: usize = rows > 4 ? <usize>load<u32>(cRows, 16) + cOffset : 0;
  const r5: usize = rows > 5 ? <usize>load<u32>(cRows, 20) + cOffset : 0;
  if (flags == 0) {
    put(wide, r0, c00, c01);
    if (rows > 1) put(wide, r1, c10, c11);
    if (rows > 2) put(wide, r2, c20, c21);
    if (rows > 3) put(wide, r3, c30, c31);
    if (rows > 4) put(wide, r4, c40, c41);
    if (rows > 5) put(wide, r5, c50, c51);
  } else if (flags == ACCUMULATE) {
    add(wide, r0, c00, c01);
    if (rows > 1) add(wide, r1, c10, c11);
    if (rows > 2) add(wide, r2, c20, c21);
    if (rows > 3) add(wide, r3, c30, c31);
    if (rows > 4) add(wide, r4, c40, c41);
    if (rows > 5) add(wide, r5, c50, c51);
  } else {
    let sum = finish(wide, r0, c00, c01, flags);
    if (rows > 1) sum = f32x4.add(sum, finish(wide, r1, c10, c11, flags));
    if (rows > 2) sum = f32x4.add(sum, finish(wide, r2, c20, c21, flags));
    if (rows > 3) sum = f32x4.add(sum, finish(wide, r3, c30, c31, flags));
    if (rows > 4) sum = f32x4.add(sum, finish(wide, r4, c40, c41, flags));
    if (rows > 5) sum = f32x4.add(sum, finish(wide, r5, c50, c51, flags));
    if (flags & NORM) squares += sum4(sum);
  }
}

function fullRowsWide(
  aTable: usize, aOffset: usize, length: i32, b: usize, cRows: usize, cOffset: usize, bias: usize, flags: i32,
): void {
  tile(false, ROWS, true, aTable, aOffset, length, b, cRows, cOffset, bias, flags);
}

function oneRowsWide(
  aTable: usize, aOffset: usize, length: i32, b: usize, cRows: usize, cOffset: usize, bias: usize, flags: i32,
): void {
  tile(false, 1, true, aTable, aOffset, length, b, cRows, cOffset, bias, flags);
}

/** A tile of 1 to ROWS rows. */
function anyRowsWide(
  rows: i32,
  aTable: usize, aOffset: usize, length: i32, b: usize, cRows: usize, cOffset: usize, bias: usize, flags: i32,
): void {
  if (rows == ROWS) fullRowsWide(aTable, aOffset, length, b, cRows, cOffset, bias, flags);
  else if (rows > 3) {
    tile(false, 4, true, aTable, aOffset, length, b, cRows, cOffset, bias, flags);
    // A fifth by itself: a tile of five would make the module larger than it may be.
    if (ROWS > 5 && rows == 5) oneRowsWide(aTable + 16, aOffset, length, b, cRows + 16, cOffset, bias, flags);
  } else if (rows == 3) tile(false, 3, true, aTable, aOffset, length, b, cRows, cOffset, bias, flags);
  else if (rows == 2) tile(false, 2, true, aTable, aOffset, length, b, cRows, cOffset, bias, flags);
  else if (rows == 1) oneRowsWide(aTable, aOffset, length, b, cRows, cOffset, bias, flags);
}

/** All rows of one panel of 8 columns. */
function panelRowsWide(
  aTable: usize, aOffset: usize, length: i32, b: usize, m: i32, cRows: usize, cOffset: usize, bias: usize, flags: i32,
): void {
  // Two rows alone take as long as four: they share what is left with a full tile's, but where
  // squares are summed, whose order is part of the result.
  for (; m >= ROWS && (m != ROWS + 2 || flags & NORM); m -= ROWS) {
    fullRowsWide(aTable, aOffset, length, b, cRows, cOffset, bias, flags);
    aTable += ROWS << 2;
    cRows += ROWS << 2;
  }
  if (m > ROWS) {
    anyRowsWide(4, aTable, aOffset, length, b, cRows, cOffset, bias, flags);
    aTable += 16;
    cRows += 16;
    m -= 4;
  }
  if (m) anyRowsWide(m, aTable, aOffset, length, b, cRows, cOffset, bias, flags);
}

function fullRowsNarrow(
  aTable: usize, aOffset: usize, length: i32, b: usize, cRows: usize, cOffset: usize, bias: usize, flags: i32,
): void {
  tile(false, ROWS, false, aTable, aOffset, length, b, cRows, cOffset, bias, flags);
}

/** Rows of one panel of 4 columns, but for those that fill no tile. */
function panelRowsNarrow(
  aTable: usize, aOffset: usize, length: i32, b: usize, m: i32, cRows: usize, cOffset: usize, bias: usize, flags: i32,
): void {
  for (; m >= ROWS; m -= ROWS) {
    fullRowsNarrow(aTable, aOffset, length, b, cRows, cOffset, bias, flags);
    aTable += ROWS << 2;
    cRows += ROWS << 2;
  }
}

function fullColumnsWide(
  aTable: usize, aOffset: usize, length: i32, b: usize, cRows: usize, cOffset: usize, bias: usize, flags: i32,
): void {
  tile(true, ROWS, true, aTable, aOffset, length, b, cRows, cOffset, bias, flags);
}

function oneColumnsWide(
  aTable: usize, aOffset: usize, length: i32, b: usize, cRows: usize, cOffset: usize, bias: usize, flags: i32,
): void {
  tile(true, 1, true, aTable, aOffset, length, b, cRows, cOffset, bias, flags);
}

/** A tile of 1 to ROWS rows. */
function anyColumnsWide(
  rows: i32,
  aTable: usize, aOffset: usize, length: i32, b: usize, cRows: usize, cOffset: usize, bias: usize, flags: i32,
): void {
  if (rows == ROWS) fullColumnsWide(aTable, aOffset, length, b, cRows, cOffset, bias, flags);
  else if (rows > 3) {
    tile(true, 4, true, aTable, aOffset, length, b, cRows, cOffset, bias, flags);
    // A fifth by itself: a tile of five would make the module larger than it may be.
    if (ROWS > 5 && rows == 5) oneColumnsWide(aTable, aOffset + 16, length, b, cRows + 16, cOffset, bias, flags);
  } else if (rows == 3) tile(true, 3, true, aTable, aOffset, length, b, cRows, cOffset, bias, flags);
  else if (rows == 2) tile(true, 2, true, aTable, aOffset, length, b, cRows, cOffset, bias, flags);
  else if (rows == 1) oneColumnsWide(aTable, aOffset, length, b, cRows, cOffset, bias, flags);
}

/** All rows of one panel of 8 columns. */
function panelColumnsWide(
  aTable: usize, aOffset: usize, length: i32, b: usize, m: i32, cRows: usize, cOffset: usize, bias: usize, flags: i32,
): void {
  // Two rows alone take as long as four: they share what is left with a full tile's, but where
  // squares are summed, whose order is part of the result.
  for (; m >= ROWS && (m != ROWS + 2 || flags & NORM); m -= ROWS) {
    fullColumnsWide(aTable, aOffset, length, b, cRows, cOffset, bias, flags);
    aOffset += ROWS << 2;
    cRows += ROWS << 2;
  }
  if (m > ROWS) {
    anyColumnsWide(4, aTable, aOffset, length, b, cRows, cOffset, bias, flags);
    aOffset += 16;
    cRows += 16;
    m -= 4;
  }
  if (m) anyColumnsWide(m, aTable, aOffset, length, b, cRows, cOffset, bias, flags);
}

function fullColumnsNarrow(
  aTable: usize, aOffset: usize, length: i32, b: usize, cRows: usize, cOffset: usize, bias: usize, flags: i32,
): void {
  tile(true, ROWS, false, aTable, aOffset, length, b, cRows, cOffset, bias, flags);
}

function oneColumnsNarrow(
  aTable: usize, aOffset: usize, length: i32, b: usize, cRows: usize, cOffset: usize, bias: usize, flags: i32,
): void {
  tile(true, 1, false, aTable, aOffset, length, b, cRows, cOffset, bias, flags);
}

/** Rows of one panel of 4 columns, but for those that fill no tile. */
function panelColumnsNarrow(
  aTable: usize, aOffset: usize, length: i32, b: usize, m: i32, cRows: usize, cOffset: usize, bias: usize, flags: i32,
): void {
  for (; m >= ROWS; m -= ROWS) {
    fullColumnsNarrow(aTable, aOffset, length, b, cRows, cOffset, bias, flags);
    aOffset += ROWS << 2;
    cRows += ROWS << 2;
  }
}

/** Brings n columns of a tile that was computed in scratch to C, element by element. */
function storeEdge(from: usize, rows: i32, n: i32, cRows: usize, cOffset: usize, bias: usize, flags: i32): void {
  for (; rows > 0; rows--) {
    const c = <usize>load<u32>(cRows) + cOffset;
    for (let column: usize = 0; column < <usize>n << 2; column += 4) {
      let x = load<f32>(from + column);
      if (bias) x += load<f32>(bias + column);
      if (flags & ACCUMULATE) x += load<f32>(c + column);
      if (flags & RELU) x = x < 0 ? 0 : x;
      if (flags & NORM) squares += <f64>x * <f64>x;
      store<f32>(c + column, x);
    }
    from += 32;
    cRows += 4;
  }
}

@inline
function multiply(
  byColumns: bool,
  aTable: usize, aOffset: usize, length: i32, b: usize, m: i32, n: i32,
  cRows: usize, cOffset: usize, bias: usize, flags: i32, edge: usize,
): void {
  const panelBytes = <usize>length << 5;
  for (; n >= 8; n -= 8) {
    if (byColumns) panelColumnsWide(aTable, aOffset, length, b, m, cRows, cOffset, bias, flags);
    else panelRowsWide(aTable, aOffset, length, b, m, cRows, cOffset, bias, flags);
    b += panelBytes;
    cOffset += 32;
    if (bias) bias += 32;
  }
  // Whether rows lie before those that are left.
  const preceded = m >= ROWS;
  if (n == 4) {
    if (byColumns) panelColumnsNarrow(aTable, aOffset, length, b, m, cRows, cOffset, bias, flags);
    else panelRowsNarrow(aTable, aOffset, length, b, m, cRows, cOffset, bias, flags);
    const whole = m - m % ROWS;
    if (byColumns) aOffset += <usize>whole << 2;
    else aTable += <usize>whole << 2;
    cRows += <usize>whole << 2;
    m -= whole;
  }
  if (n > 0) {
    for (let i = 0; i < ROWS; i++) store<u32>(edge + (i << 2), <u32>(edge + 64 + (i << 5)));
    for (; m > 0; m -= ROWS) {
      const rows = min(ROWS, m);
      let first = edge + 64;
      if (byColumns) {
        if (n > 4) anyColumnsWide(rows, aTable, aOffset, length, b, edge, 0, 0, 0);
        else if (rows == ROWS || preceded) {
          // Too few rows are computed with some before them.
          const more = ROWS - rows;
          fullColumnsNarrow(aTable, aOffset - (<usize>more << 2), length, b, edge, 0, 0, 0);
          first += <usize>more << 5;
        } else for (let row = 0; row < rows; row++) oneColumnsNarrow(aTable, aOffset + (row << 2), length, b, edge + (row << 2), 0, 0, 0);
        aOffset += ROWS << 2;
      } else {
        if (n > 4) anyRowsWide(rows, aTable, aOffset, length, b, edge, 0, 0, 0);
        else {
          // Too few rows are computed with the last of them several times.
          for (let i = 0; i < ROWS; i++) store<u32>(edge + 32 + (i << 2), load<u32>(aTable + (min(i, rows - 1) << 2)));
          fullRowsNarrow(edge + 32, aOffset, length, b, edge, 0, 0, 0);
        }
        aTable += ROWS << 2;
      }
      storeEdge(first, rows, n, cRows, cOffset, bias, flags);
      cRows += ROWS << 2;
    }
  }
}

/**
 * C = A B for m rows and n columns, A by rows. `edge` is EDGE_BYTES of scratch, in which a last
 * panel of 1, 2, 3, 5, 6 or 7 columns is computed before its columns go to C.
 */
export function multiplyRows(
  aTable: usize, aOffset: usize, length: i32, b: usize, m: i32, n: i32,
  cRows: usize, cOffset: usize, bias: usize, flags: i32, edge: usize,
): void {
  multiply(false, aTable, aOffset, length, b, m, n, cRows, cOffset, bias, flags, edge);
}

/** The same with A by columns. */
export function multiplyColumns(
  aTable: usize, aOffset: usize, length: i32, b: usize, m: i32, n: i32,
  cRows: usize, cOffset: usize, bias: usize, flags: i32, edge: usize,
): void {
  multiply(true, aTable, aOffset, length, b, m, n, cRows, cOffset, bias, flags, edge);
}

/** Scratch that they need for a last panel: tables of rows of C and A, and one tile. */
export const EDGE_BYTES: usize = 64 + 32 * 8;
