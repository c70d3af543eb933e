import { madd } from "./lanes";

/** The four lanes' sums of four vectors, one beside the other. */
@inline
function sums(x0: v128, x1: v128, x2: v128, x3: v128): v128 {
  const s01 = f32x4.add(v128.shuffle<i32>(x0, x1, 0, 4, 1, 5), v128.shuffle<i32>(x0, x1, 2, 6, 3, 7));
  const s23 = f32x4.add(v128.shuffle<i32>(x2, x3, 0, 4, 1, 5), v128.shuffle<i32>(x2, x3, 2, 6, 3, 7));
  return f32x4.add(v128.shuffle<i64>(s01, s23, 0, 2), v128.shuffle<i64>(s01, s23, 1, 3));
}

/**
 * One column of C = A b, or of C += A b: row i of A is `length` floats (a multiple of 4) at
 * load<u32>(aTable + 4 i) + aOffset, its product goes to load<u32>(cRows + 4 i) + cOffset, b lies
 * in one piece; `edge` is 16 bytes of scratch. Four rows by four lanes of the inner dimension: for
 * a column that a register tile (tile.ts) would compute beside three of nothing.
 */
export function multiplyVector(
  aTable: usize, aOffset: usize, length: i32, b: usize, m: i32, cRows: usize, cOffset: usize, accumulate: bool, edge: usize,
): void {
  const bytes = <usize>length << 2;
  for (; m > 0; m -= 4) {
    // Fewer than four rows left: the last one takes the place of those that are not.
    const last = min(m, 4) - 1;
    const a0 = row(aTable, 0, last) + aOffset, a1 = row(aTable, 1, last) + aOffset;
    const a2 = row(aTable, 2, last) + aOffset, a3 = row(aTable, 3, last) + aOffset;
    let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0;
    for (let p: usize = 0; p < bytes; p += 16) {
      const x = v128.load(b + p);
      s0 = madd(v128.load(a0 + p), x, s0);
      s1 = madd(v128.load(a1 + p), x, s1);
      s2 = madd(v128.load(a2 + p), x, s2);
      s3 = madd(v128.load(a3 + p), x, s3);
    }
    v128.store(edge, sums(s0, s1, s2, s3));
    for (let i = 0; i <= last; i++) {
      const c = <usize>load<u32>(cRows + (i << 2)) + cOffset;
      const x = load<f32>(edge + (i << 2));
      store<f32>(c, accumulate ? load<f32>(c) + x : x);
    }
    aTable += 16;
    cRows += 16;
  }
}

@inline
function row(table: usize, i: i32, last: i32): usize {
  return <usize>load<u32>(table + (min(i, last) << 2));
}
