import { ACCUMULATE, NORM, RELU, clearSquares, multiplyColumns, multiplyRows, squares, tabulate } from "../lanes/tile";
import { copyRun, packColumns, packColumnsTransposed, packedColumns } from "../lanes/pack";
import {
  A_TABLE, BLOCK_ROWS, C_ROWS, EDGE, PACKED, PACKED_BYTES, PADDED, PADDED_BYTES, PATCHES, PATCHES_BYTES,
} from "../lanes/scratch";
import {
  Window, batch, inChannels, inHeight, inWidth, kernelHeight, kernelWidth, outChannels, outHeight, outWidth,
  padLeft, padTop, setGeometry, strideHeight, strideWidth,
} from "../lanes/geometry";
import { axpy } from "./vector";
import { planWinogradRows, winogradRowsBackpropFilter, winogradRowsBackpropInput, winogradRowsConv2d } from "./winograd-rows";
import { planWinograd, winogradBackpropFilter, winogradBackpropInput, winogradConv2d } from "./winograd";

// y[b, oy, ox, o] = relu?(bias[o] + sum over ky, kx, c of x[b, oy sh + ky - padTop, ox sw + kx - padLeft, c] w[ky, kx, c, o]),
// where x outside the image is 0.
//
// x: [batch, inHeight, inWidth, inChannels]. w: [kernelHeight, kernelWidth, inChannels, outChannels]. bias: [outChannels] or null.
// y: [batch, outHeight, outWidth, outChannels]. One-dimensional convolution is inHeight = kernelHeight = outHeight = 1.
//
// For one output pixel and one ky, the inputs (kx, c) lie next to each other in x: a run of kernelWidth * inChannels floats. So all
// three kernels are matrix products that read x, or write dx, where it lies, one kernel row after the other:
//   y        = sum over ky of (runs of x) w[ky]              [pixels, run] [run, outChannels]
//   dx runs += dy w[ky]^T                                     [pixels, outChannels] [outChannels, run]
//   dw[ky]   = (runs of x)^T dy                               [run, pixels] [pixels, outChannels]
// Where a window reaches outside the image, a block of images is copied into scratch with its zeros first.
//
// Filters of 5 x 5 and 3 x 3 between many channels take fewer multiplications in winograd.ts, others of 5 or 3 taps along one axis in
// winograd-rows.ts.
//
// Limit: kernelHeight * kernelWidth * inChannels <= MAX_PATCH of runtime/wasm/kernels.ts, so that one patch and 8 columns of the
// filter fit into scratch.

/**
 * Longest inner dimension of one product: a panel of B, this times 32 bytes, stays in the
 * first-level cache.
 */
const BLOCK_INNER: i32 = 512;
/** With fewer outputs than this, Winograd's transformation of the filter is not worth it. */
const MANY_OUTPUTS: i32 = 256;
/**
 * Runs shorter than this are gathered to whole patches in scratch, or a product would be over
 * before it is worth its start.
 */
const SHORT_RUN: i32 = 64;
/**
 * The shortest runs, read and written, for which Winograd's filtering along one axis is worth its
 * transformations.
 */
const READ_RUN: i32 = 15, WRITTEN_RUN: i32 = 4;

// How the convolution at work is cut into blocks: set by `begin`.
/** Whether a window reaches outside the image. */
let padded: bool = false;
/**
 * Outputs are done in blocks: some whole images, or a rectangle of one, whose pixels follow each
 * other in y.
 */
let blocks: i32 = 0, blockImages: i32 = 0, blockHeight: i32 = 0, blockWidth: i32 = 0;
/** Rows and columns of the inputs of a block. */
let patchHeight: i32 = 0, patchWidth: i32 = 0;

// The block at work: set by `open`.
let image: i32 = 0, images: i32 = 0, top: i32 = 0, left: i32 = 0, height: i32 = 0, width: i32 = 0;
/** Its outputs, and the index of the first. */
let pixels: i32 = 0, firstPixel: i32 = 0;

function begin(): void {
  blocks = 0;
  if (batch == 0 || outHeight == 0 || outWidth == 0) return;
  padded =
    padTop > 0 || padLeft > 0 ||
    (outHeight - 1) * strideHeight + kernelHeight > inHeight ||
    (outWidth - 1) * strideWidth + kernelWidth > inWidth;
  blockWidth = min(outWidth, BLOCK_ROWS);
  blockHeight = min(outHeight, BLOCK_ROWS / blockWidth);
  blockImages = blockHeight == outHeight && blockWidth == outWidth ? min(batch, BLOCK_ROWS / (blockHeight * blockWidth)) : 1;
  while (true) {
    patchHeight = (blockHeight - 1) * strideHeight + kernelHeight;
    patchWidth = (blockWidth - 1) * strideWidth + kernelWidth;
    if (!padded || <u64>blockImages * patchHeight * patchWidth * inChannels * 4 <= PADDED_BYTES) break;
    if (blockImages > 1) blockImages = (blockImages + 1) >> 1;
    else if (blockHeight > 1) blockHeight = (blockHeight + 1) >> 1;
    else if (blockWidth > 1) blockWidth = (blockWidth + 1) >> 1;
    else break;
  }
  blocks = parts(batch, blockImages) * parts(outHeight, blockHeight) * parts(outWidth, blockWidth);
}

// Ways to do a convolution: here, in winograd.ts, in winograd-rows.ts.
const DIRECT: i32 = 0, TILES: i32 = 1, ROWS: i32 = 2;

/** Sets the convolution at work, and tells how it is best done. */
function choose(window: Window, count: i32, shortestRun: i32, scratch: usize): i32 {
  setGeometry(window, count);
  if (batch * outHeight * outWidth >= MANY_OUTPUTS) {
    if (planWinograd(scratch)) return TILES;
    if (planWinogradRows(shortestRun, scratch)) return ROWS;
  }
  begin();
  return DIRECT;
}

/** How many parts of a size make the whole. */
@inline
function parts(whole: i32, size: i32): i32 {
  return (whole + size - 1) / size;
}

function open(block: i32): void {
  const across = parts(outWidth, blockWidth), down = parts(outHeight, blockHeight);
  const ox = (block % across) * blockWidth;
  block /= across;
  const oy = (block % down) * blockHeight;
  image = (block / down) * blockImages;
  images = min(blockImages, batch - image);
  height = min(blockHeight, outHeight - oy);
  width = min(blockWidth, outWidth - ox);
  top = oy * strideHeight - padTop;
  left = ox * strideWidth - padLeft;
  pixels = images * height * width;
  firstPixel = (image * outHeight + oy) * outWidth + ox;
}

/** Bytes from one row of a block's inputs to the next. */
@inline
function rowBytes(): usize {
  return <usize>((padded ? patchWidth : inWidth) * inChannels) << 2;
}

/** Where the images of a block lie padded. */
@inline
function patchOf(i: i32, scratch: usize): usize {
  return scratch + PADDED + (<usize>(i * patchHeight * patchWidth * inChannels) << 2);
}

/** Where the images of a block lie in x or dx. */
@inline
function imageOf(i: i32, x: usize): usize {
  return x + (<usize>((image + i) * inHeight * inWidth * inChannels) << 2);
}

/**
 * Fills the table with the address of the first input of every output of the block: in the padded
 * copy, or in x itself.
 */
function tabulateInputs(table: usize, x: usize, scratch: usize): void {
  const down = rowBytes() * strideHeight;
  const right = <usize>(inChannels * strideWidth) << 2;
  for (let i = 0; i < images; i++) {
    let row = padded ? patchOf(i, scratch) : imageOf(i, x) + (<usize>((top * inWidth + left) * inChannels) << 2);
    for (let y = 0; y < height; y++) {
      let address = row;
      for (let x = 0; x < width; x++) {
        store<u32>(table, <u32>address);
        table += 4;
        address += right;
      }
      row += down;
    }
  }
}

/** Copies the inputs of the block with their padding. */
function copyPadded(x: usize, scratch: usize): void {
  const pixel = <usize>inChannels << 2;
  const line = <usize>patchWidth * pixel;
  const first = min(patchWidth, max(0, -left));
  const before = <usize>first * pixel;
  const inside = <usize>(max(first, min(patchWidth, inWidth - left)) - first) * pixel;
  for (let i = 0; i < images; i++) {
    let to = patchOf(i, scratch);
    for (let row = top; row < top + patchHeight; row++) {
      if (row < 0 || row >= inHeight) memory.fill(to, 0, line);
      else {
        if (before) memory.fill(to, 0, before);
        if (inside) memory.copy(to + before, imageOf(i, x) + <usize>(row * inWidth + left + first) * pixel, inside);
        if (before + inside < line) memory.fill(to + before + inside, 0, line - before - inside);
      }
      to += line;
    }
  }
}

/** The way back: adds what lies inside the images. */
function addPadded(dx: usize, scratch: usize): void {
  const pixel = <usize>inChannels << 2;
  const line = <usize>patchWidth * pixel;
  const first = min(patchWidth, max(0, -left));
  const inside = max(first, min(patchWidth, inWidth - left)) - first;
  for (let i = 0; i < images; i++) {
    for (let row = max(0, top); row < min(inHeight, top + patchHeight); row++)
      axpy(
        imageOf(i, dx) + <usize>(row * inWidth + left + first) * pixel,
        patchOf(i, scratch) + <usize>(row - top) * line + <usize>first * pixel, inside * inChannels, 1,
      );
  }
}

export function conv2d(
  window: Window, count: i32, x: usize, w: usize, bias: usize, y: usize, relu: i32, norm: i32, scratch: usize,
): f64 {
  const way = choose(window, count, READ_RUN, scratch);
  if (way == TILES) return winogradConv2d(x, w, bias, y, relu, norm);
  if (way == ROWS) return winogradRowsConv2d(x, w, bias, y, relu, norm);
  clearSquares();
  const outPixel = <usize>outChannels << 2;
  const patch = kernelHeight * kernelWidth * inChannels;
  // A patch is `runs` runs; gathered, it is one.
  const gather =
    kernelHeight > 1 && kernelWidth * inChannels < SHORT_RUN && patch <= <i32>(PATCHES_BYTES / (BLOCK_ROWS << 2));
  const runs = gather ? 1 : kernelHeight;
  const run = patch / runs;
  const blockColumns = max(8, min(outChannels, <i32>(PACKED_BYTES / (<usize>patch << 2)) & ~7));
  for (let n0 = 0; n0 < outChannels; n0 += blockColumns) {
    const columns = min(blockColumns, outChannels - n0);
    const packedRow = <usize>packedColumns(columns) << 2;
    for (let ky = 0, k = 0; ky < runs; ky++) {
      for (let r = 0; r < run; r += BLOCK_INNER) {
        const length = min(BLOCK_INNER, run - r);
        packColumns(w + <usize>k * outPixel + (<usize>n0 << 2), outPixel, length, columns, scratch + PACKED + <usize>k * packedRow);
        k += length;
      }
    }
    for (let block = 0; block < blocks; block++) {
      open(block);
      if (padded) copyPadded(x, scratch);
      tabulateInputs(scratch + A_TABLE, x, scratch);
      tabulate(scratch + C_ROWS, pixels, y + <usize>firstPixel * outPixel + (<usize>n0 << 2), outPixel);
      if (gather) gatherPatches(kernelHeight, kernelWidth * inChannels, scratch);
      for (let ky = 0, k = 0; ky < runs; ky++) {
        for (let r = 0; r < run; r += BLOCK_INNER) {
          const length = min(BLOCK_INNER, run - r);
          let flags = k > 0 ? ACCUMULATE : 0;
          const blockBias = bias && k == 0 ? bias + (<usize>n0 << 2) : 0;
          const packed = scratch + PACKED + <usize>k * packedRow;
          k += length;
          if (k == patch) {
            if (relu) flags |= RELU;
            if (norm) flags |= NORM;
          }
          multiplyRows(
            scratch + A_TABLE, <usize>ky * rowBytes() + (<usize>r << 2), length, packed, pixels, columns,
            scratch + C_ROWS, 0, blockBias, flags, scratch + EDGE,
          );
        }
      }
    }
  }
  return squares;
}

/** Copies the patch of every output of the block together, and points the table to the copies. */
function gatherPatches(kernelHeight: i32, run: i32, scratch: usize): void {
  const down = rowBytes();
  let to = scratch + PATCHES;
  for (let table = scratch + A_TABLE, end = table + (<usize>pixels << 2); table < end; table += 4) {
    let from = <usize>load<u32>(table);
    store<u32>(table, <u32>to);
    for (let ky = 0; ky < kernelHeight; ky++) {
      copyRun(from, to, run);
      from += down;
      to += <usize>run << 2;
    }
  }
}

// dx: like x.
export function conv2dBackpropInput(
  window: Window, count: i32, dy: usize, w: usize, dx: usize, scratch: usize,
): void {
  const way = choose(window, count, WRITTEN_RUN, scratch);
  memory.fill(dx, 0, <usize>(batch * inHeight * inWidth * inChannels) << 2);
  if (way == TILES) return winogradBackpropInput(dy, w, dx);
  if (way == ROWS) return winogradRowsBackpropInput(dy, w, dx);
  const outPixel = <usize>outChannels << 2;
  const run = kernelWidth * inChannels;
  const packedRow = <usize>packedColumns(run) << 2;
  // Output channels of the filter that fit packed; all kernel rows of them.
  const blockInner = min(BLOCK_INNER, min(outChannels, <i32>(PACKED_BYTES / (<usize>kernelHeight * packedRow))));
  for (let k0 = 0; k0 < outChannels; k0 += blockInner) {
    const inner = min(blockInner, outChannels - k0);
    const packedBytes = <usize>inner * packedRow;
    for (let ky = 0; ky < kernelHeight; ky++)
      packColumnsTransposed(w + <usize>(ky * run) * outPixel + (<usize>k0 << 2), outPixel, inner, run, scratch + PACKED + <usize>ky * packedBytes);
    for (let block = 0; block < blocks; block++) {
      open(block);
      if (padded) memory.fill(scratch + PADDED, 0, patchOf(images, 0) - PADDED);
      tabulate(scratch + A_TABLE, pixels, dy + <usize>firstPixel * outPixel + (<usize>k0 << 2), outPixel);
      tabulateInputs(scratch + C_ROWS, dx, scratch);
      for (let ky = 0; ky < kernelHeight; ky++)
        multiplyRows(
          scratch + A_TABLE, 0, inner, scratch + PACKED + <usize>ky * packedBytes, pixels, run,
          scratch + C_ROWS, <usize>ky * rowBytes(), 0, ACCUMULATE, scratch + EDGE,
        );
      if (padded) addPadded(dx, scratch);
    }
  }
}

// dw: like w.
export function conv2dBackpropFilter(
  window: Window, count: i32, x: usize, dy: usize, dw: usize, scratch: usize,
): void {
  const way = choose(window, count, READ_RUN, scratch);
  if (way == TILES) return winogradBackpropFilter(x, dy, dw);
  if (way == ROWS) return winogradRowsBackpropFilter(x, dy, dw);
  const outPixel = <usize>outChannels << 2;
  const run = kernelWidth * inChannels;
  memory.fill(dw, 0, <usize>(kernelHeight * run) * outPixel);
  const blockColumns = min(outChannels, <i32>(PACKED_BYTES / (BLOCK_ROWS << 2)) & ~7);
  for (let block = 0; block < blocks; block++) {
    open(block);
    if (padded) copyPadded(x, scratch);
    tabulateInputs(scratch + A_TABLE, x, scratch);
    for (let n0 = 0; n0 < outChannels; n0 += blockColumns) {
      const columns = min(blockColumns, outChannels - n0);
      packColumns(dy + <usize>firstPixel * outPixel + (<usize>n0 << 2), outPixel, pixels, columns, scratch + PACKED);
      for (let ky = 0; ky < kernelHeight; ky++) {
        for (let r = 0; r < run; r += BLOCK_ROWS) {
          const rows = min(BLOCK_ROWS, run - r);
          tabulate(scratch + C_ROWS, rows, dw + <usize>(ky * run + r) * outPixel + (<usize>n0 << 2), outPixel);
          multiplyColumns(
            scratch + A_TABLE, <usize>ky * rowBytes() + (<usize>r << 2), pixels, scratch + PACKED, rows, columns,
            scratch + C_ROWS, 0, 0, ACCUMULATE, scratch + EDGE,
          );
        }
      }
    }
  }
}
