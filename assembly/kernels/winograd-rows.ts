import { ACCUMULATE, multiplyColumns, multiplyRows, tabulate } from "../lanes/tile";
import { multiplyVector } from "../lanes/dots";
import { packColumns, packColumnsTransposed, packedColumns } from "../lanes/pack";
import { A_TABLE, BLOCK_ROWS, C_ROWS, EDGE, PACKED, PACKED_BYTES, PADDED, PADDED_BYTES, PATCHES_BYTES } from "../lanes/scratch";
import {
  filterToPoints, finish, inputToPoints, outputToPoints, pointsToFilter, pointsToInput, pointsToOutput,
} from "../lanes/winograd";
import * as geometry from "../lanes/geometry";
import { batch, inChannels, outChannels } from "../lanes/geometry";
import { axpy } from "./vector";

// Convolutions with 5 or 3 taps along the height, stride 1 there, by Winograd's minimal filtering (lanes/winograd.ts) along that axis
// alone: 2 or 4 rows of outputs from 6 rows of inputs with 6 products of rows instead of 10 or 12. Along the width a product reads or
// writes runs where they lie, as in conv2d.ts, whose layouts these are; so a filter may be of any width and of few channels, which
// winograd.ts cannot take. A convolution along the width alone (inHeight = kernelHeight = 1) is done as one along the height.
//
// With p one of the 6 points, t a tile (rows of outputs that follow each other) and run = kernelWidth * inChannels:
//   input points   V[p][t, patchWidth * inChannels]    = B^T (6 rows of inputs, 0 outside the image)
//   output points  Z[p][t, outWidth * outChannels]     = A (rows of the outputs' gradient, 0 outside)
//   filter points  U[p][run, outChannels]              = G w
//   y = A^T ((runs of V[p]) U[p]);   dx += B (runs of V[p] += Z[p] U[p]^T);   dw = G^T (sum over tiles of (runs of V[p])^T Z[p])

const POINTS: usize = 6;
/**
 * Outputs of one product: as many floats of A as stay in the first-level cache with 64 channels.
 */
const BLOCK_PIXELS: i32 = 90;
/** Two vectors of rows at work, then points of a block of tiles. */
const WORK: usize = PADDED, WORK_BYTES: usize = PADDED_BYTES + PATCHES_BYTES;

// The plan of the convolution at work, with its axes exchanged where it runs along the width: set
// by `planWinogradRows`.
let inHeight: i32 = 0, inWidth: i32 = 0, outHeight: i32 = 0, outWidth: i32 = 0, padTop: i32 = 0;
/** Rows of outputs of a tile, tiles of an image, tiles in all, tiles that are done together. */
let size: i32 = 0, down: i32 = 0, tiles: i32 = 0, blockTiles: i32 = 0;
/**
 * Floats of a filter's row for one output channel, and from the run of an output to that of the
 * next.
 */
let run: i32 = 0, step: i32 = 0;
/** Floats of a patch's row before the image, and inside. */
let before: i32 = 0, inside: i32 = 0;
/**
 * Bytes of a pixel of y, of a row of V[p], Z[p] and U[p], of V[p] and Z[p] of a block, and of a
 * packed U[p].
 */
let outPixel: usize = 0, inLine: usize = 0, outLine: usize = 0, filterPoint: usize = 0;
let inPoint: usize = 0, outPoint: usize = 0, packedPoint: usize = 0;
// Scratch: six rows of inputs and of outputs at work, then points of a block of tiles.
let inputRows: usize = 0, outputRows: usize = 0, inputPoints: usize = 0, outputPoints: usize = 0, packed: usize = 0, tables: usize = 0;

/**
 * Whether the convolution at work can be done here, and has runs of `shortest` floats at least; if
 * so, plans it.
 */
export function planWinogradRows(shortest: i32, scratch: usize): bool {
  const turned = geometry.inHeight == 1 && geometry.kernelHeight == 1 && geometry.outHeight == 1;
  const taps = turned ? geometry.kernelWidth : geometry.kernelHeight;
  if ((taps != 5 && taps != 3) || (turned ? geometry.strideWidth : geometry.strideHeight) != 1 || outChannels & 3) return false;
  inHeight = turned ? geometry.inWidth : geometry.inHeight;
  inWidth = turned ? 1 : geometry.inWidth;
  outHeight = turned ? geometry.outWidth : geometry.outHeight;
  outWidth = turned ? 1 : geometry.outWidth;
  padTop = turned ? geometry.padLeft : geometry.padTop;
  size = 7 - taps;
  down = (outHeight + size - 1) / size;
  tiles = batch * down;
  run = (turned ? 1 : geometry.kernelWidth) * inChannels;
  step = (turned ? 1 : geometry.strideWidth) * inChannels;
  const patch = (outWidth - 1) * step + run;
  const padding = turned ? 0 : geometry.padLeft * inChannels;
  before = min(patch, padding);
  inside = max(before, min(patch, inWidth * inChannels + padding)) - before;
  outPixel = <usize>outChannels << 2;
  // With room for whole vectors behind the last float.
  inLine = ((<usize>patch << 2) + 31) & ~15;
  outLine = <usize>outWidth * outPixel;
  filterPoint = <usize>run * outPixel;
  packedPoint = <usize>packedColumns(run) * outPixel;
  blockTiles = min(max(1, BLOCK_PIXELS / outWidth), <i32>(WORK_BYTES / (POINTS * (inLine + outLine))) - 1);
  inPoint = <usize>blockTiles * inLine;
  outPoint = <usize>blockTiles * outLine;
  inputRows = scratch + WORK;
  outputRows = inputRows + POINTS * inLine;
  inputPoints = outputRows + POINTS * outLine;
  outputPoints = inputPoints + POINTS * inPoint;
  packed = scratch + PACKED;
  tables = scratch;
  return (
    run >= shortest && outWidth <= BLOCK_ROWS && run <= BLOCK_ROWS && outChannels <= BLOCK_ROWS && blockTiles > 0 &&
    // The filter's points, packed, and one point of a block's outputs; the filter's points before
    // they are packed.
    POINTS * packedPoint + outPoint <= PACKED_BYTES && POINTS * filterPoint <= WORK_BYTES
  );
}

// The tile at work: set by `open`. Its first rows of inputs and outputs, how many of outputs it
// has, and where the first ones lie.
let top: i32 = 0, height: i32 = 0, inOffset: usize = 0, outOffset: usize = 0;

function open(tile: i32): void {
  const image = tile / down;
  const outTop = (tile - image * down) * size;
  top = outTop - padTop;
  height = min(size, outHeight - outTop);
  inOffset = <usize>((image * inHeight + top) * inWidth * inChannels) << 2;
  outOffset = <usize>(image * outHeight + outTop) * outLine;
}

/** V of tile number `at` of a block. */
function transformInput(x: usize, at: i32): void {
  const from = x + inOffset;
  const row = <usize>(inWidth * inChannels) << 2;
  const to = inputPoints + <usize>at * inLine + (<usize>before << 2);
  if (top >= 0 && top + 6 <= inHeight && (inside & 3) == 0) return inputToPoints(from, row, to, inPoint, <usize>inside << 2);
  // A copy with its zeros.
  memory.fill(inputRows, 0, POINTS * inLine);
  for (let y = max(0, -top); y < min(6, inHeight - top); y++) memory.copy(inputRows + <usize>y * inLine, from + <usize>y * row, <usize>inside << 2);
  inputToPoints(inputRows, inLine, to, inPoint, <usize>packedColumns(inside) << 2);
}

/** Z of tile number `at` of a block. */
function transformOutput(dy: usize, at: i32): void {
  let from = dy + outOffset;
  if (height < size) {
    memory.copy(outputRows, from, <usize>height * outLine);
    memory.fill(outputRows + <usize>height * outLine, 0, <usize>(size - height) * outLine);
    from = outputRows;
  }
  outputToPoints(size, from, outLine, outputPoints + <usize>at * outLine, outPoint, outLine);
}

/**
 * Fills tables with the addresses of the runs, and of the outputs, of `count` tiles in the first
 * point. Outputs that are `apart` follow each other, so that their runs do not overlap, and none
 * waits for the one before to be stored.
 */
function tabulateBlock(runs: usize, outputs: usize, count: i32): void {
  const apart = (packedColumns(run) + step - 1) / step;
  for (let t = 0; t < count; t++) {
    const line = inputPoints + <usize>t * inLine, pixels = outputPoints + <usize>t * outLine;
    for (let start = 0; start < min(apart, outWidth); start++) {
      for (let x = start; x < outWidth; x += apart) {
        store<u32>(runs, <u32>(line + (<usize>(x * step) << 2)));
        store<u32>(outputs, <u32>(pixels + <usize>x * outPixel));
        runs += 4;
        outputs += 4;
      }
    }
  }
}

/** Columns of the transposed filter that are not worth a panel. */
@inline
function singleColumns(): i32 {
  return (run & 3) < 3 ? run & 3 : 0;
}

/**
 * U, made where the points of a block will be, then packed: to be multiplied by, as it is or
 * transposed.
 */
function transformFilter(w: usize, transposed: bool): void {
  filterToPoints(size, w, filterPoint, inputRows, filterPoint, filterPoint);
  for (let p: usize = 0; p < POINTS; p++) {
    const from = inputRows + p * filterPoint, to = packed + p * packedPoint;
    if (transposed) {
      const single = singleColumns();
      packColumnsTransposed(from, outPixel, outChannels, run - single, to);
      memory.copy(to + <usize>(run - single) * outPixel, from + <usize>(run - single) * outPixel, <usize>single * outPixel);
    } else packColumns(from, outPixel, run, outChannels, to);
  }
}

/**
 * Zeros for the points of inputs outside the image, which no tile writes, or for those that
 * products are added to.
 */
function clearInputPoints(): void {
  memory.fill(inputPoints, 0, POINTS * inPoint);
}

export function winogradRowsConv2d(x: usize, w: usize, bias: usize, y: usize, relu: i32, norm: i32): f64 {
  transformFilter(w, false);
  clearInputPoints();
  let squares: f64 = 0;
  for (let block = 0; block < tiles; block += blockTiles) {
    const count = min(blockTiles, tiles - block);
    for (let t = 0; t < count; t++) {
      open(block + t);
      transformInput(x, t);
    }
    tabulateBlock(tables + A_TABLE, tables + C_ROWS, count);
    for (let p: usize = 0; p < POINTS; p++)
      multiplyRows(
        tables + A_TABLE, p * inPoint, run, packed + p * packedPoint, count * outWidth, outChannels,
        tables + C_ROWS, p * outPoint, 0, 0, tables + EDGE,
      );
    for (let t = 0; t < count; t++) {
      open(block + t);
      pointsToOutput(size, outputPoints + <usize>t * outLine, outPoint, outputRows, outLine, outLine);
      const pixels = height * outWidth;
      for (let i: usize = 0; i < <usize>pixels; i++) squares += finish(outputRows + i * outPixel, bias, y + outOffset + i * outPixel, outPixel, relu, norm);
    }
  }
  return squares;
}

// dx holds zeros.
export function winogradRowsBackpropInput(dy: usize, w: usize, dx: usize): void {
  transformFilter(w, true);
  // One column alone, or two, are multiplied by themselves. Of the last three a fourth is made of
  // zeros: added to another output's run it changes nothing.
  const columns = packedColumns(run - singleColumns());
  const row = <usize>(inWidth * inChannels) << 2, line = <usize>inside << 2;
  for (let block = 0; block < tiles; block += blockTiles) {
    const count = min(blockTiles, tiles - block);
    for (let t = 0; t < count; t++) {
      open(block + t);
      transformOutput(dy, t);
    }
    if (outWidth > 1) clearInputPoints();
    tabulateBlock(tables + C_ROWS, tables + A_TABLE, count);
    for (let p: usize = 0; p < POINTS; p++) {
      const filter = packed + p * packedPoint;
      multiplyRows(
        tables + A_TABLE, p * outPoint, outChannels, filter, count * outWidth, columns,
        tables + C_ROWS, p * inPoint, 0, outWidth > 1 ? ACCUMULATE : 0, tables + EDGE,
      );
      for (let i: usize = <usize>columns; i < <usize>run; i++)
        multiplyVector(
          tables + A_TABLE, p * outPoint, outChannels, filter + i * outPixel, count * outWidth,
          tables + C_ROWS, p * inPoint + (i << 2), outWidth > 1, tables + EDGE,
        );
    }
    for (let t = 0; t < count; t++) {
      open(block + t);
      const from = inputPoints + <usize>t * inLine + (<usize>before << 2);
      pointsToInput(from, inPoint, inputRows, line, <usize>packedColumns(inside) << 2);
      // Whole rows follow each other here and there.
      const first = max(0, -top), last = min(6, inHeight - top);
      const rows = line == row ? last - first : 1;
      for (let y = first; y < last; y += rows)
        axpy(dx + inOffset + <usize>y * row, inputRows + <usize>y * line, rows * inside, 1);
    }
  }
}

export function winogradRowsBackpropFilter(x: usize, dy: usize, dw: usize): void {
  // The sums over tiles, then one point of a block packed.
  const sums = packed;
  const packedOutputs = sums + POINTS * filterPoint;
  clearInputPoints();
  memory.fill(sums, 0, POINTS * filterPoint);
  for (let block = 0; block < tiles; block += blockTiles) {
    const count = min(blockTiles, tiles - block);
    for (let t = 0; t < count; t++) {
      open(block + t);
      transformInput(x, t);
      transformOutput(dy, t);
    }
    // In the order of the packed outputs.
    let table = tables + A_TABLE;
    for (let t = 0; t < count; t++) {
      tabulate(table, outWidth, inputPoints + <usize>t * inLine, <usize>step << 2);
      table += <usize>outWidth << 2;
    }
    tabulate(tables + C_ROWS, run, sums, outPixel);
    for (let p: usize = 0; p < POINTS; p++) {
      packColumns(outputPoints + p * outPoint, outPixel, count * outWidth, outChannels, packedOutputs);
      multiplyColumns(
        tables + A_TABLE, p * inPoint, count * outWidth, packedOutputs, run, outChannels,
        tables + C_ROWS, p * filterPoint, 0, ACCUMULATE, tables + EDGE,
      );
    }
  }
  pointsToFilter(size, sums, filterPoint, dw, filterPoint, filterPoint);
}
