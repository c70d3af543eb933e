import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { JobOptions, Trainer } from "../../runtime/training/job.js";
import { engineOn, type Hooks } from "../../runtime/training/engine.js";
import type { Layout, Vector } from "../../runtime/tensors/layout.js";
import { readSafetensors, type TensorFile } from "../../runtime/tensors/safetensors.js";
import { allowRelaxedSimd, readKernelBinaries } from "../../runtime/platform/node-kernels.js";
import type { Heap, KernelBuild, Kernels } from "../../runtime/wasm/kernels.js";
import { compileKernels, instantiateKernels } from "../../runtime/wasm/load.js";
import { ownHeap } from "../../runtime/wasm/own-heap.js";

allowRelaxedSimd();

export const BUILDS: readonly KernelBuild[] = ["simd", "relaxed"];

/** One build on a memory of its own. */
export async function openKernels(build: KernelBuild): Promise<{ kernels: Kernels; heap: Heap }> {
  const heap = ownHeap(65536);
  const kernels = await instantiateKernels(
    await compileKernels(readKernelBinaries(), build),
    heap.memory,
  );
  return { kernels, heap };
}

const folder =
  process.env["FEDFLAT_VECTORS"] ??
  fileURLToPath(new URL("../../../test/vectors/", import.meta.url));

/** The reference files of one kind, computed by another program, with the tensors they go with. */
export function vectorsOf(
  kind: "objective" | "federation" | "hessian",
  tensorsOf = kind,
): { name: string; json: any; tensors: TensorFile["tensors"] }[] {
  return readdirSync(folder)
    .filter((file) => file.startsWith(`${kind}-`) && file.endsWith(".json"))
    .map((file) => {
      const json = JSON.parse(readFileSync(join(folder, file), "utf8"));
      const name = file.slice(kind.length + 1, -".json".length);
      const bytes = readFileSync(join(folder, `${tensorsOf}-${name}.safetensors`));
      return { name, json, tensors: readSafetensors(bytes).tensors };
    });
}

/** The tensors named `${prefix}.${parameter}` as one vector over the layout. */
export function vectorFrom(tensors: TensorFile["tensors"], prefix: string, layout: Layout): Vector {
  const vector = new Float32Array(layout.size);
  for (const { name, offset } of layout.parameters)
    vector.set(tensors.get(`${prefix}.${name}`)!.data, offset);
  return vector;
}

/**
 * Largest difference of two equally long rows of numbers, relative to the largest expected
 * magnitude.
 */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Infinity;
  let scale = 0;
  let worst = 0;
  for (let i = 0; i < expected.length; i++) {
    scale = Math.max(scale, Math.abs(expected[i]));
    const difference = Math.abs(actual[i] - expected[i]);
    if (!(difference <= worst)) worst = difference;
  }
  return worst === 0 ? 0 : worst / scale;
}

/**
 * A trainer that does its jobs in this thread, on one build; with `snapshots` it gives one after
 * each batch.
 */
export async function trainerHere(
  build: KernelBuild,
  { snapshots = false } = {},
): Promise<Trainer> {
  const { kernels, heap } = await openKernels(build);
  const engine = engineOn(kernels, heap);
  const hooks = (options?: JobOptions): Hooks => {
    let kept: Promise<void> | undefined;
    return {
      progress: (progress) => options?.onProgress?.(progress),
      snapshot(_, take) {
        if (snapshots) kept = options?.onSnapshot?.(take());
      },
      pause: async () => kept,
    };
  };
  return {
    train: (job, options) => engine.train(job, hooks(options)),
    evaluate: (job, options) => engine.evaluate(job, hooks(options)),
    hessianProduct: (job, options) => engine.hessianProduct(job, hooks(options)),
    predict: (job, options) => engine.predict(job, hooks(options)),
    close: () => engine.free(),
  };
}
