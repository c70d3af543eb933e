import { readFileSync } from "node:fs";
import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-backend-wasm";
import { random } from "../runtime/tensors/random.js";
import { allowRelaxedSimd, readKernelBinaries } from "../runtime/platform/node-kernels.js";
import {
  SCRATCH_BYTES,
  TRANSPOSE_A,
  TRANSPOSE_B,
  type KernelBuild,
  type Kernels,
} from "../runtime/wasm/kernels.js";
import { compileKernels, instantiateKernels } from "../runtime/wasm/load.js";
import { ownHeap } from "../runtime/wasm/own-heap.js";
import { WINDOW_WORDS, writeWindow, type Window } from "../runtime/wasm/window.js";
import { here, takeTurns, type Compare, type Contender, type Figure } from "./comparison.js";

// Our kernels against the ceiling of their build and against tfjs-wasm's own (XNNPACK), one thread;
// results are checked before anything is timed.

/** Work of a known number of floating-point operations. */
interface Work {
  readonly contender: Contender;
  readonly operations: number;
}

const work = (run: () => void, operations: number): Work => ({
  contender: here("", run),
  operations,
});

/** Kernels on a memory of their own, and tensors of noise in it. */
interface Bench {
  readonly kernels: Kernels;
  readonly scratch: number;
  readonly build: KernelBuild;
  /** Writes a window for the kernels; its address. */
  window(window: Window): number;
  /** `size` floats of noise, and how to read them. */
  floats(size: number): { address: number; read(): Float32Array };
}

type Comparison = (bench: Bench) => Promise<Figure[]>;

/** What a target asks of a ratio. */
interface Target {
  readonly atLeast: number;
}

/** A rate in GFLOP/s beside that of a baseline; both take turns of 10 ms. */
async function versus(
  name: string,
  { build }: Bench,
  ours: Work,
  baseline: string,
  other: Work,
  target?: Target,
): Promise<Figure> {
  const times = await takeTurns(
    [
      { ...ours.contender, name: "ours" },
      { ...other.contender, name: "other" },
    ],
    { turns: 41, burstMilliseconds: 10, warmUpMilliseconds: 300 },
  );
  const value = ours.operations / times["ours"] / 1e6;
  const baselineValue = other.operations / times["other"] / 1e6;
  const ratio = value / baselineValue;
  return {
    name: `${name}, ${build} build`,
    value,
    unit: "GFLOP/s",
    baseline,
    baselineValue,
    ratio,
    ...(target && {
      target: `>= ${target.atLeast} x`,
      met: ratio >= target.atLeast,
    }),
  };
}

/** Floating-point operations in one iteration of assembly/bench/ceiling.ts. */
const CEILING_OPERATIONS = 96;
const CEILING_ITERATIONS = 50_000;

/** What the registers of this build can do at most. */
async function ceiling({ build }: Bench): Promise<Work> {
  const binary = readFileSync(new URL(`./ceiling.${build}.wasm`, import.meta.url));
  const { memory } = ownHeap(0);
  const compiled = await compileKernels({ simd: binary, relaxed: binary }, build);
  const module: unknown = instantiateKernels(compiled, memory);
  const { ceiling: run } = module as { ceiling(iterations: number): number };
  return work(() => void run(CEILING_ITERATIONS), CEILING_ITERATIONS * CEILING_OPERATIONS);
}

/** Throws unless two results are the same but for rounding. */
function assertSame(name: string, ours: Float32Array, theirs: ArrayLike<number>): void {
  if (ours.length !== theirs.length)
    throw new Error(`${name}: ${ours.length} elements against ${theirs.length}`);
  let [largest, difference] = [0, 0];
  ours.forEach((value, i) => {
    largest = Math.max(largest, Math.abs(theirs[i]));
    difference = Math.max(difference, Math.abs(value - theirs[i]));
  });
  if (!(difference <= 1e-5 * largest))
    throw new Error(`${name}: differs by ${difference} of ${largest}`);
}

/** An operation of tfjs-wasm's own; its result must be `expected`. */
function stock(
  name: string,
  operation: () => tf.Tensor,
  expected: Float32Array,
  operations: number,
): Work {
  const result = operation();
  assertSame(name, expected, result.dataSync());
  result.dispose();
  return work(() => operation().dispose(), operations);
}

const TRANSPOSES = [
  [0, 0, "NN"],
  [0, 1, "NT"],
  [1, 0, "TN"],
  [1, 1, "TT"],
] as const;

/**
 * m x n x k products: the classic, and the dense layers of the CIFAR network, forward, by input and
 * by weights.
 */
const PRODUCTS = {
  "gemm 512": { sizes: [512, 512, 512], transposes: [0, 1, 2, 3] },
  "dense 1600-384 forward": { sizes: [32, 384, 1600], transposes: [0] },
  "dense 1600-384 dX": { sizes: [32, 1600, 384], transposes: [1] },
  "dense 1600-384 dW": { sizes: [1600, 384, 32], transposes: [2] },
  "dense 561-128 forward": { sizes: [32, 128, 561], transposes: [0] },
  "dense 561-128 dW": { sizes: [561, 128, 32], transposes: [2] },
} as const;

function gemm(product: keyof typeof PRODUCTS): Comparison {
  const { sizes, transposes } = PRODUCTS[product];
  const [m, n, k] = sizes;
  return async (bench) => {
    const { kernels, scratch } = bench;
    const operations = 2 * m * n * k;
    const [a, b, c] = [m * k, k * n, m * n].map(bench.floats);
    const x = tf.tensor1d(a.read());
    const y = tf.tensor1d(b.read());
    const figures: Figure[] = [];
    for (const index of transposes) {
      const [transposeA, transposeB, letters] = TRANSPOSES[index];
      const name = `${product} ${letters}`;
      const run = () =>
        void kernels.gemm(
          transposeA * TRANSPOSE_A + transposeB * TRANSPOSE_B,
          m,
          n,
          k,
          a.address,
          transposeA ? m : k,
          b.address,
          transposeB ? k : n,
          c.address,
          n,
          0,
          scratch,
        );
      run();
      const left = tf.reshape(x, transposeA ? [k, m] : [m, k]) as tf.Tensor2D;
      const right = tf.reshape(y, transposeB ? [n, k] : [k, n]) as tf.Tensor2D;
      const theirs = stock(
        name,
        () => tf.matMul(left, right, transposeA === 1, transposeB === 1),
        c.read(),
        operations,
      );
      const ours = work(run, operations);
      const top = await ceiling(bench);
      figures.push(
        await versus(
          name,
          bench,
          ours,
          "ceiling",
          top,
          product === "gemm 512" ? { atLeast: 0.8 } : undefined,
        ),
        await versus(
          name,
          bench,
          ours,
          "tfjs-wasm",
          theirs,
          // A dense layer's gradients.
          / d[XW]$/.test(product) ? { atLeast: 15 } : undefined,
        ),
      );
    }
    return figures;
  };
}

/** Stride 1; the networks of docs/algorithms.md at batch 32. */
const CONVOLUTIONS = {
  "conv 32x32x3 5x5x64": { input: [32, 32, 3], kernel: [5, 5, 64], pad: 0 },
  "conv 14x14x64 5x5x64": { input: [14, 14, 64], kernel: [5, 5, 64], pad: 0 },
  "conv 32x32x64 3x3x64 same": {
    input: [32, 32, 64],
    kernel: [3, 3, 64],
    pad: 1,
  },
  "conv 128x9 5x64": { input: [1, 128, 9], kernel: [1, 5, 64], pad: 0 },
  "conv 62x64 5x64": { input: [1, 62, 64], kernel: [1, 5, 64], pad: 0 },
  "conv 12x12x16 5x5x32": { input: [12, 12, 16], kernel: [5, 5, 32], pad: 0 },
} as const;

const BATCH = 32;

function convolution(layer: keyof typeof CONVOLUTIONS): Comparison {
  const { input, kernel, pad } = CONVOLUTIONS[layer];
  const [height, width, channels] = input;
  const [kernelHeight, kernelWidth, filters] = kernel;
  const outHeight = height + 2 * pad - kernelHeight + 1;
  const outWidth = width + 2 * pad - kernelWidth + 1;
  const window: Window = {
    inHeight: height,
    inWidth: width,
    inChannels: channels,
    outHeight,
    outWidth,
    outChannels: filters,
    kernelHeight,
    kernelWidth,
    strideHeight: 1,
    strideWidth: 1,
    padTop: pad,
    padLeft: pad,
  };
  const shapes = {
    x: [BATCH, height, width, channels],
    w: [kernelHeight, kernelWidth, channels, filters],
    y: [BATCH, outHeight, outWidth, filters],
  } as const;
  const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b);
  const operations = 2 * size(shapes.y) * kernelHeight * kernelWidth * channels;
  const padding = pad ? "same" : "valid";
  return async (bench) => {
    const { kernels, scratch } = bench;
    const at = bench.window(window);
    const [x, dx] = [0, 1].map(() => bench.floats(size(shapes.x)));
    const [w, dw] = [0, 1].map(() => bench.floats(size(shapes.w)));
    const [y, dy] = [0, 1].map(() => bench.floats(size(shapes.y)));
    const forward = () =>
      void kernels.conv2d(at, BATCH, x.address, w.address, 0, y.address, 0, 0, scratch);
    const input = () =>
      kernels.conv2dBackpropInput(at, BATCH, dy.address, w.address, dx.address, scratch);
    const filter = () =>
      kernels.conv2dBackpropFilter(at, BATCH, x.address, dy.address, dw.address, scratch);
    forward();
    input();
    const stockX = tf.tensor4d(x.read(), [...shapes.x]);
    const stockW = tf.tensor4d(w.read(), [...shapes.w]);
    const stockDy = tf.tensor4d(dy.read(), [...shapes.y]);
    const stockForward = stock(
      layer,
      () => tf.conv2d(stockX, stockW, 1, padding),
      y.read(),
      operations,
    );
    const stockInput = stock(
      layer,
      () => tf.conv2dTranspose(stockDy, stockW, [...shapes.x], 1, padding),
      dx.read(),
      operations,
    );
    const top = await ceiling(bench);
    const against = (pass: string, run: () => void, other?: Work, target?: Target) =>
      versus(
        `${layer} ${pass}`,
        bench,
        work(run, operations),
        other ? "tfjs-wasm" : "ceiling",
        other ?? top,
        target,
      );
    return [
      await against("forward", forward, stockForward, {
        atLeast: bench.build === "relaxed" ? 1.4 : 1,
      }),
      await against("forward", forward),
      await against("dX", input, stockInput, { atLeast: 15 }),
      await against("dX", input),
      // tfjs-wasm has no gradient by the filter.
      await against("dW", filter),
    ];
  };
}

const squaredNorm: Comparison = async (bench) => {
  const size = 1_600_000;
  const x = bench.floats(size);
  const values = x.read();
  const theirs = tf.tensor1d(values);
  const ours = bench.kernels.squaredNorm(x.address, size);
  const sum = () => tf.tidy(() => tf.sum(tf.square(theirs)));
  // Against float64: tfjs itself adds in float32 and is off by 6e-4 here.
  const exact = values.reduce((total, value) => total + value * value, 0);
  assertSame("squared norm", Float32Array.of(ours), [exact]);
  const operations = 2 * size;
  return [
    await versus(
      "squared norm of 1.6 million",
      bench,
      work(() => void bench.kernels.squaredNorm(x.address, size), operations),
      "tfjs-wasm",
      work(() => sum().dispose(), operations),
    ),
  ];
};

const COMPARISONS: Readonly<Record<string, Comparison>> = {
  ...Object.fromEntries(
    Object.keys(PRODUCTS).map((name) => [name, gemm(name as keyof typeof PRODUCTS)]),
  ),
  ...Object.fromEntries(
    Object.keys(CONVOLUTIONS).map((name) => [name, convolution(name as keyof typeof CONVOLUTIONS)]),
  ),
  "squared norm": squaredNorm,
};

/** Each of these runs in a process of its own. */
export const parts: readonly string[] = Object.keys(COMPARISONS);

/** Kernels of one part, both builds. */
export const compare: Compare = async (report, part) => {
  const binaries = readKernelBinaries();
  allowRelaxedSimd();
  await tf.setBackend("wasm");
  for (const build of ["simd", "relaxed"] as const) {
    const heap = ownHeap(SCRATCH_BYTES);
    const kernels = instantiateKernels(await compileKernels(binaries, build), heap.memory);
    const { next } = random("bench", part);
    const figures = await COMPARISONS[part]({
      kernels,
      build,
      scratch: heap.allocate(SCRATCH_BYTES),
      window(window) {
        const address = heap.allocate(4 * WINDOW_WORDS);
        writeWindow(heap.memory, address, window);
        return address;
      },
      floats(size) {
        const address = heap.allocate(4 * size);
        const view = () => new Float32Array(heap.memory.buffer, address, size);
        view().forEach((_, i, all) => (all[i] = 2 * next() - 1));
        return { address, read: () => view().slice() };
      },
    });
    figures.forEach(report);
  }
};
