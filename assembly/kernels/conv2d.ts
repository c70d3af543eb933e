import { ACCUMULATE, NORM, RELU, clearSquares, multiply, squares } from "../lanes/tile";
import { packColumns, packColumnsTransposed, packedColumns } from "../lanes/pack";
import {
  A_ROWS, BLOCK_ROWS, C_ROWS, EDGE, PACKED, PACKED_BYTES, PATCHES, PATCHES_BYTES, ROWS_COPY, ROWS_COPY_BYTES,
} from "../lanes/scratch";
import { gemm } from "./gemm";
import { axpy } from "./vector";

// y[b, oy, ox, o] = relu?(bias[o] + sum over ky, kx, c of x[b, oy sh + ky - padTop, ox sw + kx - padLeft, c] w[ky, kx, c, o]),
// where x outside the image is 0.
//
// x: [batch, inHeight, inWidth, inChannels]. w: [kernelHeight, kernelWidth, inChannels, outChannels]. bias: [outChannels] or null.
// y: [batch, outHeight, outWidth, outChannels]. One-dimensional convolution is inHeight = kernelHeight = outHeight = 1.
//
// For one output pixel and one ky, the inputs (kx, c) lie next to each other in x: a run of kernelWidth * inChannels floats. So the
// convolution is a matrix product whose rows of A are read where they lie in x, kernelHeight runs each; only where there is padding,
// a block of images is copied into scratch with its zeros first. Its gradient by x is the same product backwards: rows of dy times
// the transposed filter, added to the overlapping runs in dx.
//
// A block of outputs is a rectangle of one image, or several whole images, of at most BLOCK_ROWS pixels.
// Limit: kernelHeight * kernelWidth * inChannels <= MAX_PATCH of runtime/wasm/kernels.ts, so that one patch and 8 columns of the
// filter fit into scratch.

/** Longest inner dimension of one pass, in floats. */
const BLOCK_INNER: i32 = 512;

// The block of outputs at work, and where its inputs lie.
let blockImages: i32 = 0;
let blockHeight: i32 = 0;
let blockWidth: i32 = 0;
/** Rows and columns of the inputs a block needs when it is copied with its padding. */
let patchHeight: i32 = 0;
let patchWidth: i32 = 0;
/** A pass over the inner dimension takes this many kernel rows of this many floats each: a part of one run, or several whole runs. */
let passRows: i32 = 0;
let passLength: i32 = 0;

function choosePasses(kernelHeight: i32, run: i32): void {
  passRows = 1;
  passLength = min(run, BLOCK_INNER);
}

/** Whether a window reaches outside the image. */
function reachesOutside(
  inHeight: i32, inWidth: i32, outHeight: i32, outWidth: i32,
  kernelHeight: i32, kernelWidth: i32, strideHeight: i32, strideWidth: i32, padTop: i32, padLeft: i32,
): bool {
  return (
    padTop > 0 || padLeft > 0 ||
    (outHeight - 1) * strideHeight + kernelHeight > inHeight ||
    (outWidth - 1) * strideWidth + kernelWidth > inWidth
  );
}

/** Columns of a filter with `inner` rows that fit packed into scratch. */
function packableColumns(columns: i32, inner: i32): i32 {
  return max(8, min(columns, <i32>(PACKED_BYTES / (<usize>inner << 2)) & ~7));
}

/** Chooses the block: whole images if one has at most BLOCK_ROWS outputs, else a rectangle of one. */
function chooseBlock(
  batch: i32, inChannels: i32, outHeight: i32, outWidth: i32,
  kernelHeight: i32, kernelWidth: i32, strideHeight: i32, strideWidth: i32, padded: bool,
): void {
  blockImages = 1;
  blockWidth = min(outWidth, BLOCK_ROWS);
  blockHeight = min(outHeight, BLOCK_ROWS / blockWidth);
  if (blockHeight == outHeight && blockWidth == outWidth) blockImages = min(batch, BLOCK_ROWS / (blockHeight * blockWidth));
  while (true) {
    patchHeight = (blockHeight - 1) * strideHeight + kernelHeight;
    patchWidth = (blockWidth - 1) * strideWidth + kernelWidth;
    if (!padded) return;
    if (<u64>blockImages * patchHeight * patchWidth * inChannels * 4 <= ROWS_COPY_BYTES) return;
    if (blockImages > 1) blockImages = (blockImages + 1) >> 1;
    else if (blockHeight > 1) blockHeight = (blockHeight + 1) >> 1;
    else if (blockWidth > 1) blockWidth = (blockWidth + 1) >> 1;
    else return;
  }
}

/**
 * Copies rows top to top + patchHeight, columns left to left + patchWidth of one image into a patch; both ranges may reach outside
 * the image, where the patch gets zeros.
 */
function copyPatch(image: usize, inHeight: i32, inWidth: i32, channels: i32, top: i32, left: i32, patch: usize): void {
  const pixel = <usize>channels << 2;
  const line = <usize>patchWidth * pixel;
  const first = min(patchWidth, max(0, -left));
  const last = max(first, min(patchWidth, inWidth - left));
  const before = <usize>first * pixel;
  const inside = <usize>(last - first) * pixel;
  for (let row = top; row < top + patchHeight; row++) {
    if (row < 0 || row >= inHeight) memory.fill(patch, 0, line);
    else {
      if (before) memory.fill(patch, 0, before);
      if (inside) memory.copy(patch + before, image + <usize>(row * inWidth + left + first) * pixel, inside);
      if (before + inside < line) memory.fill(patch + before + inside, 0, line - before - inside);
    }
    patch += line;
  }
}

/** The way back: adds what lies inside the image. */
function addPatch(patch: usize, image: usize, inHeight: i32, inWidth: i32, channels: i32, top: i32, left: i32): void {
  const pixel = <usize>channels << 2;
  const line = <usize>patchWidth * pixel;
  const first = min(patchWidth, max(0, -left));
  const last = max(first, min(patchWidth, inWidth - left));
  for (let row = max(0, top); row < min(inHeight, top + patchHeight); row++)
    axpy(image + <usize>(row * inWidth + left + first) * pixel, patch + <usize>(row - top) * line + <usize>first * pixel, (last - first) * channels, 1);
}

/** Fills the table of rows with the addresses of a block's outputs (`step` floats per output) or of their inputs. */
function tabulate(table: usize, origin: usize, images: i32, height: i32, width: i32, imageBytes: usize, rowBytes: usize, pixelBytes: usize): void {
  for (let image = 0; image < images; image++) {
    let row = origin;
    for (let y = 0; y < height; y++) {
      let address = row;
      for (let x = 0; x < width; x++) {
        store<u32>(table, <u32>address);
        table += 4;
        address += pixelBytes;
      }
      row += rowBytes;
    }
    origin += imageBytes;
  }
}

export function conv2d(
  x: usize, w: usize, bias: usize, y: usize,
  batch: i32, inHeight: i32, inWidth: i32, inChannels: i32,
  outHeight: i32, outWidth: i32, outChannels: i32,
  kernelHeight: i32, kernelWidth: i32, strideHeight: i32, strideWidth: i32, padTop: i32, padLeft: i32,
  relu: i32, norm: i32, scratch: usize,
): f64 {
  clearSquares();
  if (outHeight == 0 || outWidth == 0) return 0;
  const padded = reachesOutside(inHeight, inWidth, outHeight, outWidth, kernelHeight, kernelWidth, strideHeight, strideWidth, padTop, padLeft);
  const run = kernelWidth * inChannels;
  chooseBlock(batch, inChannels, outHeight, outWidth, kernelHeight, kernelWidth, strideHeight, strideWidth, padded);
  choosePasses(kernelHeight, run);
  const pixel = <usize>inChannels << 2;
  const outPixel = <usize>outChannels << 2;
  const imageBytes = <usize>(inHeight * inWidth) * pixel;
  const patchBytes = <usize>(patchHeight * patchWidth) * pixel;
  const rowBytes = <usize>(padded ? patchWidth : inWidth) * pixel;
  const blockColumns = packableColumns(outChannels, kernelHeight * run);
  for (let n0 = 0; n0 < outChannels; n0 += blockColumns) {
    const columns = min(blockColumns, outChannels - n0);
    const packedRow = <usize>packedColumns(columns) << 2;
    let packed = scratch + PACKED;
    for (let ky = 0; ky < kernelHeight; ky += passRows) {
      for (let r = 0; r < run; r += passLength) {
        const inner = min(passRows, kernelHeight - ky) * min(passLength, run - r);
        packColumns(w + <usize>(ky * run + r) * outPixel + (<usize>n0 << 2), outPixel, inner, columns, packed);
        packed += <usize>inner * packedRow;
      }
    }
    for (let image = 0; image < batch; image += blockImages) {
      const images = min(blockImages, batch - image);
      for (let oy = 0; oy < outHeight; oy += blockHeight) {
        const height = min(blockHeight, outHeight - oy);
        for (let ox = 0; ox < outWidth; ox += blockWidth) {
          const width = min(blockWidth, outWidth - ox);
          const top = oy * strideHeight - padTop;
          const left = ox * strideWidth - padLeft;
          let from = x + <usize>image * imageBytes;
          if (padded) {
            for (let i = 0; i < images; i++)
              copyPatch(from + <usize>i * imageBytes, inHeight, inWidth, inChannels, top, left, scratch + ROWS_COPY + <usize>i * patchBytes);
            from = scratch + ROWS_COPY;
          } else from += <usize>(top * inWidth + left) * pixel;
          const to = y + <usize>((image * outHeight + oy) * outWidth + ox) * outPixel + (<usize>n0 << 2);
          tabulate(scratch + A_ROWS, from, images, height, width, padded ? patchBytes : imageBytes, rowBytes * strideHeight, pixel * strideWidth);
          tabulate(scratch + C_ROWS, to, images, height, width, <usize>(outHeight * outWidth) * outPixel, <usize>outWidth * outPixel, outPixel);
          packed = scratch + PACKED;
          for (let ky = 0; ky < kernelHeight; ky += passRows) {
            const rows = min(passRows, kernelHeight - ky);
            for (let r = 0; r < run; r += passLength) {
              const length = min(passLength, run - r);
              const first = ky == 0 && r == 0;
              let flags = first ? 0 : ACCUMULATE;
              if (ky + rows == kernelHeight && r + length == run) {
                if (relu) flags |= RELU;
                if (norm) flags |= NORM;
              }
              multiply(
                scratch + A_ROWS, <usize>ky * rowBytes + (<usize>r << 2), length, packed,
                images * height * width, columns, scratch + C_ROWS, 0,
                first && bias ? bias + (<usize>n0 << 2) : 0, flags, scratch + EDGE,
              );
              packed += <usize>(rows * length) * packedRow;
            }
          }
        }
      }
    }
  }
  return squares;
}

// dx: like x. Rows of dy times w transposed give, per output pixel and ky, a run of kernelWidth * inChannels floats to add to dx.
export function conv2dBackpropInput(
  dy: usize, w: usize, dx: usize,
  batch: i32, inHeight: i32, inWidth: i32, inChannels: i32,
  outHeight: i32, outWidth: i32, outChannels: i32,
  kernelHeight: i32, kernelWidth: i32, strideHeight: i32, strideWidth: i32, padTop: i32, padLeft: i32,
  scratch: usize,
): void {
  const pixel = <usize>inChannels << 2;
  const imageBytes = <usize>(inHeight * inWidth) * pixel;
  memory.fill(dx, 0, <usize>batch * imageBytes);
  if (outHeight == 0 || outWidth == 0) return;
  const padded = reachesOutside(inHeight, inWidth, outHeight, outWidth, kernelHeight, kernelWidth, strideHeight, strideWidth, padTop, padLeft);
  const run = kernelWidth * inChannels;
  chooseBlock(batch, inChannels, outHeight, outWidth, kernelHeight, kernelWidth, strideHeight, strideWidth, padded);
  const outPixel = <usize>outChannels << 2;
  const patchBytes = <usize>(patchHeight * patchWidth) * pixel;
  const rowBytes = <usize>(padded ? patchWidth : inWidth) * pixel;
  const packedRow = <usize>packedColumns(run) << 2;
  // Output channels of the filter that fit packed; all kernel rows of them.
  const blockInner = min(BLOCK_INNER, min(outChannels, <i32>(PACKED_BYTES / (<usize>kernelHeight * packedRow))));
  for (let k0 = 0; k0 < outChannels; k0 += blockInner) {
    const inner = min(blockInner, outChannels - k0);
    const packedBytes = <usize>inner * packedRow;
    for (let ky = 0; ky < kernelHeight; ky++)
      packColumnsTransposed(w + <usize>(ky * run) * outPixel + (<usize>k0 << 2), outPixel, inner, run, scratch + PACKED + <usize>ky * packedBytes);
    for (let image = 0; image < batch; image += blockImages) {
      const images = min(blockImages, batch - image);
      for (let oy = 0; oy < outHeight; oy += blockHeight) {
        const height = min(blockHeight, outHeight - oy);
        for (let ox = 0; ox < outWidth; ox += blockWidth) {
          const width = min(blockWidth, outWidth - ox);
          const top = oy * strideHeight - padTop;
          const left = ox * strideWidth - padLeft;
          const from = dy + <usize>((image * outHeight + oy) * outWidth + ox) * outPixel + (<usize>k0 << 2);
          let to = dx + <usize>image * imageBytes;
          if (padded) {
            to = scratch + ROWS_COPY;
            memory.fill(to, 0, <usize>images * patchBytes);
          } else to += <usize>(top * inWidth + left) * pixel;
          tabulate(scratch + A_ROWS, from, images, height, width, <usize>(outHeight * outWidth) * outPixel, <usize>outWidth * outPixel, outPixel);
          tabulate(scratch + C_ROWS, to, images, height, width, padded ? patchBytes : imageBytes, rowBytes * strideHeight, pixel * strideWidth);
          for (let ky = 0; ky < kernelHeight; ky++)
            multiply(
              scratch + A_ROWS, 0, inner, scratch + PACKED + <usize>ky * packedBytes,
              images * height * width, run, scratch + C_ROWS, <usize>ky * rowBytes, 0, ACCUMULATE, scratch + EDGE,
            );
          if (padded)
            for (let i = 0; i < images; i++)
              addPatch(scratch + ROWS_COPY + <usize>i * patchBytes, dx + <usize>(image + i) * imageBytes, inHeight, inWidth, inChannels, top, left);
        }
      }
    }
  }
}

// dw: like w. dw = patches^T dy, a block of output pixels at a time; the patch of a pixel is the kernelHeight * kernelWidth * inChannels
// inputs it is computed from.
export function conv2dBackpropFilter(
  x: usize, dy: usize, dw: usize,
  batch: i32, inHeight: i32, inWidth: i32, inChannels: i32,
  outHeight: i32, outWidth: i32, outChannels: i32,
  kernelHeight: i32, kernelWidth: i32, strideHeight: i32, strideWidth: i32, padTop: i32, padLeft: i32,
  scratch: usize,
): void {
  const pixel = <usize>inChannels << 2;
  const patch = kernelHeight * kernelWidth * inChannels;
  memory.fill(dw, 0, <usize>(patch * outChannels) << 2);
  const outputs = batch * outHeight * outWidth;
  const block = min(BLOCK_ROWS, <i32>(PATCHES_BYTES / (<usize>patch << 2)));
  patchHeight = kernelHeight;
  patchWidth = kernelWidth;
  for (let first = 0; first < outputs; first += block) {
    const count = min(block, outputs - first);
    for (let i = 0; i < count; i++) {
      const ox = (first + i) % outWidth;
      const row = (first + i) / outWidth;
      const image = row / outHeight;
      const oy = row % outHeight;
      copyPatch(
        x + <usize>(image * inHeight * inWidth) * pixel, inHeight, inWidth, inChannels,
        oy * strideHeight - padTop, ox * strideWidth - padLeft, scratch + PATCHES + (<usize>(i * patch) << 2),
      );
    }
    gemm(
      1, 0, patch, outChannels, count, scratch + PATCHES, patch, dy + (<usize>(first * outChannels) << 2), outChannels,
      dw, outChannels, 1, 0, 0, 0, scratch,
    );
  }
}
