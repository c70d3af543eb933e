import { EDGE_BYTES } from "./tile";

// Where the parts of the scratch memory lie that runtime/wasm/kernels.ts lends (SCRATCH_BYTES, 16-byte aligned).

/** Rows that one pass of `multiply` takes: their addresses fill the tables, their floats stay in the second-level cache. */
export const BLOCK_ROWS: i32 = 240;
/** Addresses of the rows of A. */
export const A_ROWS: usize = 0;
/** Addresses of the rows of C. */
export const C_ROWS: usize = A_ROWS + BLOCK_ROWS * 4;
/** For `multiply`. */
export const EDGE: usize = C_ROWS + BLOCK_ROWS * 4;
/** Packed panels of B. */
export const PACKED: usize = (EDGE + EDGE_BYTES + 63) & ~63;
export const PACKED_BYTES: usize = 3 << 19;
/** Rows of A that had to be transposed, or images with their padding. */
export const ROWS_COPY: usize = PACKED + PACKED_BYTES;
export const ROWS_COPY_BYTES: usize = 1 << 20;
/** Patches of the image (im2col), a block at a time. */
export const PATCHES: usize = ROWS_COPY + ROWS_COPY_BYTES;
export const PATCHES_BYTES: usize = 1 << 20;
