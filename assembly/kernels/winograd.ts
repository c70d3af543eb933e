import { ACCUMULATE, multiplyColumns, multiplyRows, tabulate } from "../lanes/tile";
import { copyRun, packColumns, packColumnsTransposed } from "../lanes/pack";
import { A_TABLE, C_ROWS, EDGE, PACKED, PACKED_BYTES, PADDED, PADDED_BYTES, PATCHES } from "../lanes/scratch";
import { filterToPoints, finish, inputToPoints, outputToPoints, pointsToFilter, pointsToInput, pointsToOutput } from "../lanes/winograd";
import {
  batch, inChannels, inHeight, inWidth, kernelHeight, kernelWidth, outChannels, outHeight, outWidth, padLeft, padTop, strideHeight,
  strideWidth,
} from "../lanes/geometry";
import { axpy } from "./vector";

// Convolutions of stride 1 with 5 x 5 or 3 x 3 filters by Winograd's minimal filtering (lanes/winograd.ts) along both axes: tiles of
// 2 x 2 or 4 x 4 outputs from 6 x 6 inputs with 36 multiplications instead of 100 or 144. Layouts as in conv2d.ts.
//
// With p one of the 36 points and t a tile:
//   input points   V[p][t, inChannels]  = B^T (6 x 6 inputs of the tile, 0 outside the image) B
//   output points  Z[p][t, outChannels] = A (outputs' gradient, 0 outside) A^T
//   filter points  U[p][inChannels, outChannels] = G w G^T
//   y = A^T (V[p] U[p]) A;   dx += B (Z[p] U[p]^T) B^T;   dw = G^T (sum over tiles of V[p]^T Z[p]) G
// each a matrix product per point. The error against float64 is a few times that of the plain sum (test/kernels/conv2d.test.ts); the CIFAR
// network's second layer takes 5 ms instead of 12 on a machine whose multiply-adds alone would take 10.

const POINTS: usize = 36;
/** Tiles that are done together. */
const BLOCK_TILES: i32 = 48;

// The plan of the convolution at work: set by `planWinograd`.
/** Outputs of a tile along each axis, tiles of an image along each axis, tiles in all. */
let size: i32 = 0, down: i32 = 0, across: i32 = 0, tiles: i32 = 0;
/** Bytes of a pixel of x and of y. */
let inPixel: usize = 0, outPixel: usize = 0;
// Scratch: two tiles at work, then points of a block of tiles.
let work: usize = 0, inputPoints: usize = 0, outputPoints: usize = 0, packed: usize = 0, tables: usize = 0;
/** Bytes of one point of the filter. */
let filterPoint: usize = 0;

/** Whether the convolution at work can, and should, be done here; if so, plans it. */
export function planWinograd(scratch: usize): bool {
  if (
    strideHeight != 1 || strideWidth != 1 || kernelHeight != kernelWidth || (kernelHeight != 5 && kernelHeight != 3) ||
    (inChannels | outChannels) & 3 || inChannels < 16 || outChannels < 16 ||
    // The points of the filter, and one block's packed output points, fit where a packed filter
    // does.
    (<i32>POINTS * inChannels + BLOCK_TILES) * outChannels > <i32>(PACKED_BYTES >> 2) ||
    // The points of a block of tiles, and two tiles, fit where padded images and patches do.
    <i32>POINTS * (BLOCK_TILES + 2) * max(inChannels, outChannels) > <i32>(PADDED_BYTES >> 2)
  )
    return false;
  size = 7 - kernelHeight;
  down = (outHeight + size - 1) / size;
  across = (outWidth + size - 1) / size;
  tiles = batch * down * across;
  inPixel = <usize>inChannels << 2;
  outPixel = <usize>outChannels << 2;
  filterPoint = <usize>inChannels * outPixel;
  work = scratch + PADDED;
  inputPoints = work + 2 * POINTS * max(inPixel, outPixel);
  outputPoints = scratch + PATCHES;
  packed = scratch + PACKED;
  tables = scratch;
  return true;
}

// The tile at work: set by `open`. Its first input and output, and how many outputs it has.
let image: i32 = 0, top: i32 = 0, left: i32 = 0, outTop: i32 = 0, outLeft: i32 = 0, height: i32 = 0, width: i32 = 0;

function open(tile: i32): void {
  outLeft = (tile % across) * size;
  tile /= across;
  outTop = (tile % down) * size;
  image = tile / down;
  top = outTop - padTop;
  left = outLeft - padLeft;
  height = min(size, outHeight - outTop);
  width = min(size, outWidth - outLeft);
}

/** V of tile number `at` of a block of `count`. */
function transformInput(x: usize, at: i32, count: i32): void {
  let from = x + <usize>((image * inHeight + top) * inWidth + left) * inPixel;
  let row = <usize>inWidth * inPixel;
  const temporary = work + POINTS * inPixel;
  if (top < 0 || left < 0 || top + 6 > inHeight || left + 6 > inWidth) {
    // A copy with its zeros.
    memory.fill(work, 0, POINTS * inPixel);
    const first = max(0, -left), last = min(6, inWidth - left);
    for (let y = max(0, -top); y < min(6, inHeight - top) && first < last; y++)
      copyRun(from + <usize>y * row + <usize>first * inPixel, work + <usize>(y * 6 + first) * inPixel, (last - first) * inChannels);
    from = work;
    row = 6 * inPixel;
  }
  for (let i: usize = 0; i < 6; i++) inputToPoints(from + i * inPixel, row, temporary + i * inPixel, 6 * inPixel, inPixel);
  const point = <usize>count * inPixel;
  const to = inputPoints + <usize>at * inPixel;
  for (let i: usize = 0; i < 6; i++) inputToPoints(temporary + 6 * i * inPixel, inPixel, to + 6 * i * point, point, inPixel);
}

/** Z of tile number `at` of a block of `count`. */
function transformOutput(dy: usize, at: i32, count: i32): void {
  let from = dy + <usize>((image * outHeight + outTop) * outWidth + outLeft) * outPixel;
  let row = <usize>outWidth * outPixel;
  const columns = <usize>size;
  const temporary = work + POINTS * outPixel;
  if (height < size || width < size) {
    memory.fill(work, 0, columns * columns * outPixel);
    for (let y = 0; y < height; y++) copyRun(from + <usize>y * row, work + <usize>y * columns * outPixel, width * outChannels);
    from = work;
    row = columns * outPixel;
  }
  for (let i: usize = 0; i < columns; i++) outputToPoints(size, from + i * outPixel, row, temporary + i * outPixel, columns * outPixel, outPixel);
  const point = <usize>count * outPixel;
  const to = outputPoints + <usize>at * outPixel;
  for (let i: usize = 0; i < 6; i++) outputToPoints(size, temporary + i * columns * outPixel, outPixel, to + 6 * i * point, point, outPixel);
}

/**
 * U, made where input and output points will be, then packed: to be multiplied by, as it is or
 * transposed.
 */
function transformFilter(w: usize, transposed: bool): void {
  const taps = <usize>(7 - size);
  const temporary = work + POINTS * outPixel;
  const points = inputPoints;
  for (let c: usize = 0; c < <usize>inChannels; c++) {
    const from = w + c * outPixel;
    for (let i: usize = 0; i < taps; i++) filterToPoints(size, from + i * filterPoint, taps * filterPoint, temporary + i * outPixel, taps * outPixel, outPixel);
    const to = points + c * outPixel;
    for (let i: usize = 0; i < 6; i++) filterToPoints(size, temporary + i * taps * outPixel, outPixel, to + 6 * i * filterPoint, filterPoint, outPixel);
  }
  for (let p: usize = 0; p < POINTS; p++) {
    if (transposed) packColumnsTransposed(points + p * filterPoint, outPixel, outChannels, inChannels, packed + p * filterPoint);
    else packColumns(points + p * filterPoint, outPixel, inChannels, outChannels, packed + p * filterPoint);
  }
}

export function winogradConv2d(x: usize, w: usize, bias: usize, y: usize, relu: i32, norm: i32): f64 {
  transformFilter(w, false);
  const columns = <usize>size;
  const temporary = work + POINTS * outPixel;
  let squares: f64 = 0;
  for (let block = 0; block < tiles; block += BLOCK_TILES) {
    const count = min(BLOCK_TILES, tiles - block);
    for (let t = 0; t < count; t++) {
      open(block + t);
      transformInput(x, t, count);
    }
    const inPoint = <usize>count * inPixel, outPoint = <usize>count * outPixel;
    tabulate(tables + A_TABLE, count, inputPoints, inPixel);
    tabulate(tables + C_ROWS, count, outputPoints, outPixel);
    for (let p: usize = 0; p < POINTS; p++)
      multiplyRows(
        tables + A_TABLE, p * inPoint, inChannels, packed + p * filterPoint, count, outChannels,
        tables + C_ROWS, p * outPoint, 0, 0, tables + EDGE,
      );
    for (let t = 0; t < count; t++) {
      open(block + t);
      const from = outputPoints + <usize>t * outPixel;
      for (let i: usize = 0; i < 6; i++) pointsToOutput(size, from + i * outPoint, 6 * outPoint, temporary + i * outPixel, 6 * outPixel, outPixel);
      for (let i: usize = 0; i < columns; i++)
        pointsToOutput(size, temporary + 6 * i * outPixel, outPixel, work + i * columns * outPixel, outPixel, outPixel);
      let to = y + <usize>((image * outHeight + outTop) * outWidth + outLeft) * outPixel;
      for (let i: usize = 0; i < <usize>height; i++) {
        for (let j: usize = 0; j < <usize>width; j++)
          squares += finish(work + (i * columns + j) * outPixel, bias, to + j * outPixel, outPixel, relu, norm);
        to += <usize>outWidth * outPixel;
      }
    }
  }
  return squares;
}

// dx holds zeros.
export function winogradBackpropInput(dy: usize, w: usize, dx: usize): void {
  transformFilter(w, true);
  const temporary = work + POINTS * inPixel;
  for (let block = 0; block < tiles; block += BLOCK_TILES) {
    const count = min(BLOCK_TILES, tiles - block);
    for (let t = 0; t < count; t++) {
      open(block + t);
      transformOutput(dy, t, count);
    }
    const inPoint = <usize>count * inPixel, outPoint = <usize>count * outPixel;
    tabulate(tables + A_TABLE, count, outputPoints, outPixel);
    tabulate(tables + C_ROWS, count, inputPoints, inPixel);
    for (let p: usize = 0; p < POINTS; p++)
      multiplyRows(
        tables + A_TABLE, p * outPoint, outChannels, packed + p * filterPoint, count, inChannels,
        tables + C_ROWS, p * inPoint, 0, 0, tables + EDGE,
      );
    for (let t = 0; t < count; t++) {
      open(block + t);
      const from = inputPoints + <usize>t * inPixel;
      for (let i: usize = 0; i < 6; i++) pointsToInput(from + i * inPoint, 6 * inPoint, temporary + i * inPixel, 6 * inPixel, inPixel);
      for (let i: usize = 0; i < 6; i++) pointsToInput(temporary + 6 * i * inPixel, inPixel, work + 6 * i * inPixel, inPixel, inPixel);
      const first = max(0, -left), last = min(6, inWidth - left);
      if (first >= last) continue;
      for (let row = max(0, -top); row < min(6, inHeight - top); row++)
        axpy(
          dx + <usize>((image * inHeight + top + row) * inWidth + left + first) * inPixel,
          work + <usize>(row * 6 + first) * inPixel, (last - first) * inChannels, 1,
        );
    }
  }
}

export function winogradBackpropFilter(x: usize, dy: usize, dw: usize): void {
  // The sums over tiles, then one point of a block packed.
  const sums = packed;
  const packedPoint = sums + POINTS * filterPoint;
  for (let block = 0; block < tiles; block += BLOCK_TILES) {
    const count = min(BLOCK_TILES, tiles - block);
    for (let t = 0; t < count; t++) {
      open(block + t);
      transformInput(x, t, count);
      transformOutput(dy, t, count);
    }
    const inPoint = <usize>count * inPixel, outPoint = <usize>count * outPixel;
    tabulate(tables + A_TABLE, count, inputPoints, inPixel);
    tabulate(tables + C_ROWS, inChannels, sums, outPixel);
    for (let p: usize = 0; p < POINTS; p++) {
      packColumns(outputPoints + p * outPoint, outPixel, count, outChannels, packedPoint);
      multiplyColumns(
        tables + A_TABLE, p * inPoint, count, packedPoint, inChannels, outChannels,
        tables + C_ROWS, p * filterPoint, 0, block > 0 ? ACCUMULATE : 0, tables + EDGE,
      );
    }
  }
  const taps = <usize>(7 - size);
  const temporary = work;
  for (let c: usize = 0; c < <usize>inChannels; c++) {
    const from = sums + c * outPixel;
    for (let i: usize = 0; i < 6; i++) pointsToFilter(size, from + i * filterPoint, 6 * filterPoint, temporary + i * outPixel, 6 * outPixel, outPixel);
    const to = dw + c * outPixel;
    for (let i: usize = 0; i < taps; i++) pointsToFilter(size, temporary + 6 * i * outPixel, outPixel, to + i * taps * filterPoint, filterPoint, outPixel);
  }
}
