// Bringing a matrix into the order in which the register tile (tile.ts) reads it.

/** Columns that n columns take in packed panels: the next multiple of 4. */
@inline
export function packedColumns(n: i32): i32 {
  return (n + 3) & ~3;
}

/** Copies a few floats: for runs too short for memory.copy. */
@inline
export function copyRun(from: usize, to: usize, size: i32): void {
  const bytes = <usize>size << 2;
  let i: usize = 0;
  for (; i + 16 <= bytes; i += 16) v128.store(to + i, v128.load(from + i));
  if (i == bytes) return;
  // The last four once more, partly twice, if there are four.
  if (bytes >= 16) v128.store(to + bytes - 16, v128.load(from + bytes - 16));
  else for (; i < bytes; i += 4) store<f32>(to + i, load<f32>(from + i));
}

@inline
function copy8(from: usize, to: usize): void {
  v128.store(to, v128.load(from));
  v128.store(to, v128.load(from, 16), 16);
}

/**
 * Transposes 4 x 4 floats: reads from (rows fromStride bytes apart), writes to (rows toStride bytes
 * apart).
 */
@inline
export function transpose4(from: usize, fromStride: usize, to: usize, toStride: usize): void {
  const r0 = v128.load(from);
  const r1 = v128.load(from + fromStride);
  const r2 = v128.load(from + 2 * fromStride);
  const r3 = v128.load(from + 3 * fromStride);
  const s0 = v128.shuffle<i32>(r0, r1, 0, 4, 1, 5);
  const s1 = v128.shuffle<i32>(r0, r1, 2, 6, 3, 7);
  const s2 = v128.shuffle<i32>(r2, r3, 0, 4, 1, 5);
  const s3 = v128.shuffle<i32>(r2, r3, 2, 6, 3, 7);
  v128.store(to, v128.shuffle<i64>(s0, s2, 0, 2));
  v128.store(to + toStride, v128.shuffle<i64>(s0, s2, 1, 3));
  v128.store(to + 2 * toStride, v128.shuffle<i64>(s1, s3, 0, 2));
  v128.store(to + 3 * toStride, v128.shuffle<i64>(s1, s3, 1, 3));
}

/** to[column][row] = from[row][column]; strides in bytes. */
export function transpose(from: usize, fromStride: usize, to: usize, toStride: usize, rows: i32, columns: i32): void {
  let row = 0;
  for (; row + 4 <= rows; row += 4) {
    let column = 0;
    let source = from;
    let target = to;
    for (; column + 4 <= columns; column += 4) {
      transpose4(source, fromStride, target, toStride);
      source += 16;
      target += toStride << 2;
    }
    for (; column < columns; column++) {
      store<f32>(target, load<f32>(source));
      store<f32>(target + 4, load<f32>(source + fromStride));
      store<f32>(target + 8, load<f32>(source + 2 * fromStride));
      store<f32>(target + 12, load<f32>(source + 3 * fromStride));
      source += 4;
      target += toStride;
    }
    from += fromStride << 2;
    to += 16;
  }
  for (; row < rows; row++) {
    let target = to;
    for (let column = 0; column < columns; column++) {
      store<f32>(target, load<f32>(from + (<usize>column << 2)));
      target += toStride;
    }
    from += fromStride;
    to += 4;
  }
}

/**
 * Packs k x n of a matrix stored [k, n], `stride` bytes from row to row, into panels of 8 columns
 * (the last one of 4 if that is enough).
 */
export function packColumns(b: usize, stride: usize, k: i32, n: i32, to: usize): void {
  const panel = <usize>k << 5;
  let j = 0;
  // Four panels at once, so that the cache lines of a row are read whole: where rows lie a power of
  // two apart, few of them stay in a cache until the next panel.
  for (; j + 32 <= n; j += 32) {
    let from = b;
    for (let p = 0; p < k; p++) {
      copy8(from, to);
      copy8(from + 32, to + panel);
      copy8(from + 64, to + 2 * panel);
      copy8(from + 96, to + 3 * panel);
      from += stride;
      to += 32;
    }
    to += 3 * panel;
    b += 128;
  }
  for (; j + 8 <= n; j += 8) {
    let from = b;
    for (let p = 0; p < k; p++) {
      copy8(from, to);
      from += stride;
      to += 32;
    }
    b += 32;
  }
  const rest = n - j;
  if (rest == 0) return;
  const width = packedColumns(rest);
  for (let p = 0; p < k; p++) {
    for (let column = 0; column < width; column++) {
      store<f32>(to, column < rest ? load<f32>(b + (<usize>column << 2)) : 0);
      to += 4;
    }
    b += stride;
  }
}

/** Packs k x n of a matrix stored [n, k], `stride` bytes from row to row, into the same panels. */
export function packColumnsTransposed(b: usize, stride: usize, k: i32, n: i32, to: usize): void {
  let j = 0;
  for (; j + 8 <= n; j += 8) {
    transpose(b, stride, to, 32, 8, k);
    b += stride << 3;
    to += <usize>k << 5;
  }
  const rest = n - j;
  if (rest == 0) return;
  const width = <usize>packedColumns(rest) << 2;
  memory.fill(to, 0, <usize>k * width);
  transpose(b, stride, to, width, rest, k);
}
