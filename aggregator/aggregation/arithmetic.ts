import { readFileSync } from "node:fs";
import { readKernelBinaries } from "../../runtime/platform/node-kernels.js";
import type { Blocks } from "../../runtime/codecs/codec.js";
import { numbersOf } from "../../runtime/codecs/parts/blocks.js";
import { compileKernels, instantiateKernels, loadModule } from "../../runtime/wasm/load.js";
import type { Heap } from "../../runtime/wasm/kernels.js";
import { ownHeap } from "../../runtime/wasm/own-heap.js";
import { sortingNetwork } from "./sorting-network.js";

/**
 * The loops over an update's numbers, and the memory they run on. `plain` below is the readable
 * form and the reference of the tests; the WebAssembly form gives the same bits: a float32 times a
 * weight below 2^29 is exact in float64, and where sums are not exact both add in the same order.
 */
export interface Arithmetic {
  /** The kernels in use, as the fold and the run's records name them. */
  readonly build: string;
  /**
   * Allocates vectors of zeros; views that `sums` gave before are void. A sum has to be one of them,
   * or the plain loop adds; a centre is the sooner read.
   */
  sums(size: number, count: number): Float64Array[];
  /** sum[i] += (weight x[i] + c) - c */
  fold(sum: Float64Array, x: Float32Array, weight: number, c: number): void;
  /** The same with x as blocks of bytes, to the bit. */
  foldBlocks(sum: Float64Array, x: Blocks, weight: number, c: number): void;
  /** sum[i] += (factor (x[i] - centre[i]) + c) - c */
  foldCentred(
    sum: Float64Array,
    x: Float32Array,
    centre: Float64Array,
    factor: number,
    c: number,
  ): void;
  /** How many elements of x are not finite or larger than maxAbs in size. */
  outOfRange(x: Float32Array, maxAbs: number): number;
  squaredNorm(x: Float32Array): number;
  squaredNormOfBlocks(x: Blocks): number;
  /** |x|^2 and |x - centre|^2, in one pass. */
  squaredLengths(x: Float32Array, centre: Float64Array): SquaredLengths;
  /** |x_i - x_j|^2 at [i * rows + j] and [j * rows + i], by differences. */
  squaredDistances(rows: readonly Float32Array[]): Float64Array;
  /**
   * The rows with each coordinate in rising order, some coordinates at a time: what `visit` is
   * given is void after it.
   */
  sortedColumns(rows: readonly Float32Array[], visit: (columns: SortedColumns) => void): void;
}

export interface SquaredLengths {
  readonly norm: number;
  readonly distance: number;
}

/** Some coordinates of rows, each in rising order. */
export interface SortedColumns {
  /** The r-th smallest of coordinate `from + i` is at r * stride + i. */
  readonly values: Float32Array;
  readonly stride: number;
  readonly from: number;
  readonly count: number;
}

/** Numbers that are looked at or added in one go: 256 KB of float32. */
const SLICE = 65536;

/** Blocks of bytes that are looked at or added in one go. */
const BLOCKS = 16384;

/** Coordinates whose squared differences are added up before they are added to the sum. */
const BLOCK = 128;

/** The sum of the terms from start to end, as the lanes of the kernels add. */
function inFourChains(start: number, end: number, term: (i: number) => number): number {
  const fours = end - ((end - start) % 4);
  const chains = [0, 0, 0, 0];
  for (let i = start; i < fours; i++) chains[i % 4] += term(i);
  let sum = chains[0] + chains[2] + (chains[1] + chains[3]);
  for (let i = fours; i < end; i++) sum += term(i);
  return sum;
}

export const plain: Arithmetic = {
  build: "plain",
  sums: (size, count) => Array.from({ length: count }, () => new Float64Array(size)),
  fold(sum, x, weight, c) {
    for (let i = 0; i < x.length; i++) sum[i] += weight * x[i] + c - c;
  },
  foldBlocks: (sum, x, weight, c) => plain.fold(sum, numbersOf(x), weight, c),
  foldCentred(sum, x, centre, factor, c) {
    for (let i = 0; i < x.length; i++) sum[i] += factor * (x[i] - centre[i]) + c - c;
  },
  outOfRange(x, maxAbs) {
    let count = 0;
    // NaN is not smaller than anything.
    for (let i = 0; i < x.length; i++) if (!(Math.abs(x[i]) <= maxAbs)) count++;
    return count;
  },
  squaredNorm(x) {
    let sum = 0;
    for (let i = 0; i < x.length; i++) sum += x[i] * x[i];
    return sum;
  },
  squaredNormOfBlocks: (x) => plain.squaredNorm(numbersOf(x)),
  squaredLengths(x, centre) {
    let norm = 0;
    let distance = 0;
    for (let start = 0; start < x.length; start += SLICE) {
      const end = Math.min(start + SLICE, x.length);
      norm += inFourChains(start, end, (i) => x[i] ** 2);
      distance += inFourChains(start, end, (i) => (x[i] - centre[i]) ** 2);
    }
    return { norm, distance };
  },
  squaredDistances(rows) {
    const out = new Float64Array(rows.length ** 2);
    for (const [i, x] of rows.entries())
      for (const [j, y] of rows.slice(0, i).entries()) {
        let sum = 0;
        for (let start = 0; start < x.length; start += BLOCK) {
          const chains = [0, 0];
          const end = Math.min(start + BLOCK, x.length);
          for (let k = start; k < end; k++) chains[k % 2] += (x[k] - y[k]) ** 2;
          sum += chains[0] + chains[1];
        }
        out[i * rows.length + j] = out[j * rows.length + i] = sum;
      }
    return out;
  },
  sortedColumns(rows, visit) {
    const values = new Float32Array(rows.length);
    for (let from = 0; from < rows[0].length; from++) {
      for (const [r, row] of rows.entries()) values[r] = row[from];
      visit({ values: values.sort(), stride: 1, from, count: 1 });
    }
  },
};

/** What the module of assembly/aggregation/rules.ts exports. Addresses are byte offsets. */
interface RuleKernels {
  foldCentred(
    sum: number,
    x: number,
    centre: number,
    size: number,
    factor: number,
    c: number,
  ): void;
  foldBlocks(
    sum: number,
    bytes: number,
    sizes: number,
    scales: number,
    count: number,
    weight: number,
    c: number,
  ): void;
  squaredNormOfBlocks(bytes: number, sizes: number, scales: number, count: number): number;
  squaredLengths(x: number, centre: number, size: number, out: number): void;
  addDistances(
    rows: number,
    count: number,
    stride: number,
    columns: number,
    block: number,
    out: number,
  ): void;
  sortColumns(
    rows: number,
    count: number,
    stride: number,
    columns: number,
    pairs: number,
    pairsEnd: number,
    scratch: number,
  ): void;
}

/** Bytes of rows that are looked at together: they stay in the second cache. */
const TOGETHER = 512 * 1024;

/** Coordinates that the kernel sorts together. */
const GROUP = 16;

/** How many coordinates of so many rows are looked at together: whole blocks, whole groups. */
const columnsOf = (rows: number): number =>
  Math.max(BLOCK, Math.floor(TOGETHER / (4 * rows) / BLOCK) * BLOCK);

/** The same with the kernels of fold.ts and rules.ts, on a memory of its own. */
export async function wasmArithmetic(): Promise<Arithmetic> {
  // Always the same build, for what this engine takes may change while the process runs; a fold has
  // no multiply-add to fuse.
  const compiled = await compileKernels(readKernelBinaries(), "simd");
  const heap = ownHeap(12 * SLICE);
  const kernels = await instantiateKernels(compiled, heap.memory);
  const binary = readFileSync(new URL("rules.wasm", import.meta.url));
  const rules = await loadModule<RuleKernels>(binary, heap.memory);
  const slice = heap.allocate(4 * SLICE);
  const middle = heap.allocate(8 * SLICE);
  const sizes = middle + 8 * BLOCKS;
  let taken: number[] = [];

  /** Puts the numbers at `slice`, as many at a time as fit. */
  const inSlices: InSlices = (x, work) => {
    for (let start = 0; start < x.length; start += SLICE) {
      const part = x.subarray(start, start + SLICE);
      new Float32Array(heap.memory.buffer, slice, part.length).set(part);
      work(start, part.length);
    }
  };

  /**
   * Puts blocks at `slice`, as many at a time as fit, or a part of one: their sizes at `sizes` and
   * their scales at `middle`.
   */
  function inBlocks(
    { bytes, edges, scales }: Blocks,
    work: (start: number, count: number) => void,
  ): void {
    const sizeOf = new Int32Array(heap.memory.buffer, sizes, BLOCKS);
    const scaleOf = new Float64Array(heap.memory.buffer, middle, BLOCKS);
    let b = 0;
    for (let start = 0; start < bytes.length;) {
      const most = Math.min(start + 4 * SLICE, bytes.length);
      let end = start;
      let count = 0;
      while (end < most && count < BLOCKS) {
        const next = Math.min(edges[b + 1], most);
        sizeOf[count] = next - end;
        scaleOf[count++] = scales[b];
        if (next === edges[b + 1]) b++;
        end = next;
      }
      new Int8Array(heap.memory.buffer, slice, end - start).set(bytes.subarray(start, end));
      work(start, count);
      start = end;
    }
  }

  return {
    build: compiled.build,
    sums(size, count) {
      taken.forEach(heap.free);
      // All first, then the views: a memory that grows leaves older views empty.
      taken = Array.from({ length: count }, () => heap.allocate(8 * size));
      return taken.map((address) => new Float64Array(heap.memory.buffer, address, size).fill(0));
    },
    fold(sum, x, weight, c) {
      if (sum.buffer !== heap.memory.buffer) return plain.fold(sum, x, weight, c);
      inSlices(x, (start, size) =>
        kernels.foldFloat32(sum.byteOffset + 8 * start, slice, size, weight, c),
      );
    },
    foldBlocks(sum, x, weight, c) {
      if (sum.buffer !== heap.memory.buffer) return plain.foldBlocks(sum, x, weight, c);
      // A scale has eight bits and a weight 29: their product, and that times a byte, are exact.
      inBlocks(x, (start, count) =>
        rules.foldBlocks(sum.byteOffset + 8 * start, slice, sizes, middle, count, weight, c),
      );
    },
    outOfRange(x, maxAbs) {
      let count = 0;
      inSlices(x, (_, size) => {
        count += kernels.checkRange(slice, size, maxAbs);
      });
      return count;
    },
    squaredNormOfBlocks(x) {
      let sum = 0;
      inBlocks(x, (_, count) => {
        sum += rules.squaredNormOfBlocks(slice, sizes, middle, count);
      });
      return sum;
    },
    squaredNorm(x) {
      let sum = 0;
      inSlices(x, (_, size) => {
        sum += kernels.squaredNorm(slice, size);
      });
      return sum;
    },
    ...loopsFromCentre(heap, rules, slice, middle, inSlices),
    ...loopsOverRows(heap, rules),
  };
}

type InSlices = (x: Float32Array, work: (start: number, size: number) => void) => void;

/** The loops over an update, a slice of which is at that address, and what it is seen from. */
function loopsFromCentre(
  heap: Heap,
  rules: RuleKernels,
  slice: number,
  middle: number,
  inSlices: InSlices,
): Pick<Arithmetic, "foldCentred" | "squaredLengths"> {
  const lengths = heap.allocate(16);

  /** The address of a part of a vector, which is put at `middle` where it lies elsewhere. */
  function addressOf(vector: Float64Array, start: number, size: number): number {
    if (vector.buffer === heap.memory.buffer) return vector.byteOffset + 8 * start;
    const part = vector.subarray(start, start + size);
    new Float64Array(heap.memory.buffer, middle, size).set(part);
    return middle;
  }

  return {
    foldCentred(sum, x, centre, factor, c) {
      if (sum.buffer !== heap.memory.buffer) return plain.foldCentred(sum, x, centre, factor, c);
      inSlices(x, (start, size) => {
        const from = addressOf(centre, start, size);
        rules.foldCentred(sum.byteOffset + 8 * start, slice, from, size, factor, c);
      });
    },
    squaredLengths(x, centre) {
      let norm = 0;
      let distance = 0;
      inSlices(x, (start, size) => {
        rules.squaredLengths(slice, addressOf(centre, start, size), size, lengths);
        const [own, apart] = new Float64Array(heap.memory.buffer, lengths, 2);
        norm += own;
        distance += apart;
      });
      return { norm, distance };
    },
  };
}

/** The loops over all updates of a round. */
function loopsOverRows(
  heap: Heap,
  rules: RuleKernels,
): Pick<Arithmetic, "squaredDistances" | "sortedColumns"> {
  /**
   * So much memory for as long as the work takes. It may grow, which voids what `sums` gave: for
   * rules that need all updates at once, and no sums.
   */
  function lent(sizes: readonly number[], work: (...addresses: number[]) => void): void {
    const addresses = sizes.map((bytes) => heap.allocate(bytes));
    work(...addresses);
    addresses.forEach(heap.free);
  }

  /** Puts rows at an address, some coordinates at a time, `stride` numbers from one to the next. */
  function inColumns(
    rows: readonly Float32Array[],
    address: number,
    stride: number,
    work: (from: number, count: number) => void,
  ): void {
    const size = rows[0].length;
    for (let from = 0; from < size; from += stride) {
      const count = Math.min(stride, size - from);
      const place = new Float32Array(heap.memory.buffer, address, rows.length * stride);
      rows.forEach((row, r) => place.set(row.subarray(from, from + count), r * stride));
      work(from, count);
    }
  }

  return {
    squaredDistances(rows) {
      const count = rows.length;
      const stride = columnsOf(count);
      const result = new Float64Array(count * count);
      lent([4 * stride * count, 8 * BLOCK * count, 8 * count * count], (place, block, out) => {
        new Float64Array(heap.memory.buffer, out, count * count).fill(0);
        inColumns(rows, place, stride, (_, columns) =>
          rules.addDistances(place, count, 4 * stride, columns, block, out),
        );
        result.set(new Float64Array(heap.memory.buffer, out, count * count));
      });
      for (let i = 0; i < count; i++)
        for (let j = 0; j < i; j++) result[i * count + j] = result[j * count + i];
      return result;
    },
    sortedColumns(rows, visit) {
      const stride = columnsOf(rows.length);
      const network = sortingNetwork(rows.length).map((place) => 4 * GROUP * place);
      const sizes = [4 * stride * rows.length, network.byteLength, 4 * GROUP * rows.length];
      lent(sizes, (place, pairs, scratch) => {
        new Uint32Array(heap.memory.buffer, pairs, network.length).set(network);
        inColumns(rows, place, stride, (from, count) => {
          const groups = GROUP * Math.ceil(count / GROUP);
          rules.sortColumns(
            ...([place, rows.length, 4 * stride, groups] as const),
            ...([pairs, pairs + network.byteLength, scratch] as const),
          );
          const values = new Float32Array(heap.memory.buffer, place, rows.length * stride);
          visit({ values, stride, from, count });
        });
      });
    },
  };
}
