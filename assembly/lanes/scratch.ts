import { EDGE_BYTES } from "./tile";

// Where the parts of the scratch memory lie that runtime/wasm/kernels.ts lends (SCRATCH_BYTES,
// 16-byte aligned).

/**
 * Rows (or columns) that one product takes: their addresses fill the tables, their floats stay in
 * the second-level cache.
 */
export const BLOCK_ROWS: i32 = 240;
/** Addresses of the rows or columns of A. */
export const A_TABLE: usize = 0;
/** Addresses of the rows of C. */
export const C_ROWS: usize = A_TABLE + BLOCK_ROWS * 4;
/** For the last panel of a product. */
export const EDGE: usize = C_ROWS + BLOCK_ROWS * 4;
/** Packed panels of B. */
export const PACKED: usize = (EDGE + EDGE_BYTES + 63) & ~63;
export const PACKED_BYTES: usize = 3 << 19;
/** Images with their padding. */
export const PADDED: usize = PACKED + PACKED_BYTES;
export const PADDED_BYTES: usize = 1 << 20;
/** Patches of images that are gathered, BLOCK_ROWS of them; rows of A that had to be transposed. */
export const PATCHES: usize = PADDED + PADDED_BYTES;
export const PATCHES_BYTES: usize = 1 << 20;
