import { ACCUMULATE, NORM, RELU, clearSquares, multiplyRows, squares } from "../lanes/tile";
import { packColumns, packColumnsTransposed, packedColumns, transpose } from "../lanes/pack";
import { A_TABLE, BLOCK_ROWS, C_ROWS, EDGE, PACKED, PACKED_BYTES, PADDED, PADDED_BYTES, PATCHES } from "../lanes/scratch";

// C = op(A) op(B) [+ C] [+ bias], then ReLU if asked.
//
// A: [m, k], or [k, m] if transposed; lda floats from row to row. B: [k, n], or [n, k] if
// transposed; ldb. C: [m, n]; ldc. bias: [n] or null. Every matrix is row-major and may be part of
// a wider one.
//
// Blocks: BLOCK_INNER x BLOCK_COLUMNS of B are packed into panels that the register tile reads one
// after the other; BLOCK_ROWS rows of A are read where they lie, or, if A is transposed, from a
// transposed copy. Where B is transposed and A is much smaller, as for the gradient by a dense
// layer's input, C^T = op(B)^T op(A)^T is computed in scratch: there B is what is read where it
// lies.

/** A panel of B, this times 32 bytes, stays in the first-level cache. */
const BLOCK_INNER: i32 = 256;
/** A block of B stays in the second-level cache. */
const BLOCK_COLUMNS: i32 = 512;

/** What to do beside the product; runtime/wasm/kernels.ts names the same bits. */
const TRANSPOSE_A: i32 = 1, TRANSPOSE_B: i32 = 2, ADD: i32 = 4, RECTIFY: i32 = 8, SUM_SQUARES: i32 = 16, HELD: i32 = 32;

@inline
function packBlock(transposed: bool, b: usize, stride: usize, n0: i32, columns: i32, k0: i32, inner: i32, to: usize): void {
  if (transposed) packColumnsTransposed(b + <usize>n0 * stride + (<usize>k0 << 2), stride, inner, columns, to);
  else packColumns(b + <usize>k0 * stride + (<usize>n0 << 2), stride, inner, columns, to);
}

/** Where a block of a matrix lies that is packed whole. */
@inline
function placeOf(k: i32, n0: i32, columns: i32, k0: i32): usize {
  return <usize>(n0 * k + k0 * packedColumns(columns)) << 2;
}

// Packs op(B) whole, for products that follow each other with nothing else in scratch between them:
// gemm with HELD then reads it there. Returns HELD, or 0 where it is too large and is not packed.
export function holdRight(how: i32, n: i32, k: i32, b: usize, ldb: i32, scratch: usize): i32 {
  if (<u64>k * packedColumns(n) * 4 > PACKED_BYTES) return 0;
  for (let n0 = 0; n0 < n; n0 += BLOCK_COLUMNS) {
    const columns = min(BLOCK_COLUMNS, n - n0);
    for (let k0 = 0; k0 < k; k0 += BLOCK_INNER)
      packBlock(
        (how & TRANSPOSE_B) != 0, b, <usize>ldb << 2, n0, columns, k0, min(BLOCK_INNER, k - k0),
        scratch + PACKED + placeOf(k, n0, columns, k0),
      );
  }
  return HELD;
}

export function gemm(
  how: i32, m: i32, n: i32, k: i32, a: usize, lda: i32, b: usize, ldb: i32, c: usize, ldc: i32, bias: usize, scratch: usize,
): f64 {
  const transposeA = (how & TRANSPOSE_A) != 0, transposeB = (how & TRANSPOSE_B) != 0;
  const accumulate = how & ADD, relu = how & RECTIFY, norm = how & SUM_SQUARES;
  const aStride = <usize>lda << 2;
  const bStride = <usize>ldb << 2;
  const cStride = <usize>ldc << 2;
  if (
    transposeB && (how & HELD | m & 3 | accumulate | relu | norm | <i32>bias) == 0 &&
    m * k + m * n <= k * n >> 1 && m * n <= <i32>(PADDED_BYTES >> 2)
  ) {
    gemm(transposeA ? 0 : TRANSPOSE_B, n, m, k, b, ldb, a, lda, scratch + PADDED, m, 0, scratch);
    transpose(scratch + PADDED, <usize>m << 2, c, cStride, n, m);
    return 0;
  }
  clearSquares();
  for (let n0 = 0; n0 < n; n0 += BLOCK_COLUMNS) {
    const columns = min(BLOCK_COLUMNS, n - n0);
    let k0 = 0;
    // Once even for k = 0, which leaves the bias alone.
    do {
      const inner = min(BLOCK_INNER, k - k0);
      let packed = scratch + PACKED;
      if (how & HELD) packed += placeOf(k, n0, columns, k0);
      else packBlock(transposeB, b, bStride, n0, columns, k0, inner, packed);
      let flags = 0;
      if (accumulate || k0 > 0) flags |= ACCUMULATE;
      if (k0 + inner >= k) {
        if (relu) flags |= RELU;
        if (norm) flags |= NORM;
      }
      const blockBias = bias && k0 == 0 ? bias + (<usize>n0 << 2) : 0;
      for (let m0 = 0; m0 < m; m0 += BLOCK_ROWS) {
        const rows = min(BLOCK_ROWS, m - m0);
        let from = a + <usize>m0 * aStride + (<usize>k0 << 2);
        let stride = aStride;
        if (transposeA) {
          from = scratch + PATCHES;
          // Not a power of two, or the rows would take turns in a few places of the cache.
          stride = (<usize>inner << 2) + 64;
          transpose(a + <usize>k0 * aStride + (<usize>m0 << 2), aStride, from, stride, inner, rows);
        }
        let to = c + <usize>m0 * cStride + (<usize>n0 << 2);
        for (let i = 0; i < rows; i++) {
          store<u32>(scratch + A_TABLE + (i << 2), <u32>from);
          store<u32>(scratch + C_ROWS + (i << 2), <u32>to);
          from += stride;
          to += cStride;
        }
        multiplyRows(scratch + A_TABLE, 0, inner, packed, rows, columns, scratch + C_ROWS, 0, blockBias, flags, scratch + EDGE);
      }
      k0 += inner;
    } while (k0 < k);
  }
  return squares;
}
