import {
  getKernel,
  registerKernel,
  unregisterKernel,
  type NamedAttrMap,
  type NamedTensorInfoMap,
  type TensorInfo,
} from "@tensorflow/tfjs-core";
import type { Kernels } from "../wasm/kernels.js";
import { writeWindow, type Window } from "../wasm/window.js";
import { lentBy } from "./instance.js";

/** One call of a tfjs kernel on the wasm backend, as a registration of ours sees it. */
export interface Call<Inputs, Attributes> {
  readonly inputs: Inputs;
  readonly attrs: Attributes;
  readonly kernels: Kernels;
  /** Address of SCRATCH_BYTES that the call may overwrite. */
  readonly scratch: number;
  /** Where a tensor's elements lie; 0 for a tensor that is not there. */
  addressOf(tensor: TensorInfo | null | undefined): number;
  /** A new float32 tensor, its elements not yet set. */
  output(shape: readonly number[]): TensorInfo;
  /** Writes how windows slide, and says where the kernels read it. */
  window(window: Window): number;
  /** Memory for the duration of this call. */
  borrow(bytes: number): number;
  /**
   * What our kernel cannot do is left to the one that tfjs registered under the same name.
   * @throws RangeError naming kernel, argument and value where tfjs has none.
   */
  leave(argument: string, expected: string, got: unknown): TensorInfo;
  /** @throws RangeError naming kernel, argument and value */
  refuse(argument: string, expected: string, got: unknown): never;
  /** The output of another kernel of this backend for input `x`, whose memory is freed. */
  stock(
    kernelName: string,
    x: TensorInfo,
    attrs: NamedAttrMap,
    inputs?: NamedTensorInfoMap,
  ): TensorInfo;
}

/** How one tfjs kernel is computed by ours. */
export interface Registration<Inputs = NamedTensorInfoMap, Attributes = NamedAttrMap> {
  readonly kernelName: string;
  compute(call: Call<Inputs, Attributes>): TensorInfo;
}

/**
 * Puts our kernel under its tfjs name on the wasm backend, in front of the one that tfjs has there.
 * Works before and after the backend has started: nothing is looked up in it before the first call.
 */
export function register<Inputs, Attributes>({
  kernelName,
  compute,
}: Registration<Inputs, Attributes>): void {
  const stock = getKernel(kernelName, "wasm");
  // tfjs warns of a kernel registered twice; here that is the purpose.
  if (stock !== undefined) unregisterKernel(kernelName, "wasm");
  registerKernel({
    ...stock,
    kernelName,
    backendName: "wasm",
    kernelFunc(params) {
      const { backend, heap, kernels, scratch, window } = lentBy(params.backend);
      const borrowed: number[] = [];
      const refuse = (argument: string, expected: string, got: unknown): never => {
        throw new RangeError(`"${kernelName}.${argument}" expected ${expected}, got ${got}`);
      };
      try {
        return compute({
          inputs: params.inputs as Inputs,
          attrs: params.attrs as Attributes,
          kernels,
          scratch,
          addressOf: (tensor) => (tensor ? backend.dataIdMap.get(tensor.dataId).memoryOffset : 0),
          output: (shape) => backend.makeOutput(shape, "float32"),
          window(form) {
            writeWindow(heap.memory, window, form);
            return window;
          },
          borrow(bytes) {
            const address = heap.allocate(bytes);
            borrowed.push(address);
            return address;
          },
          leave(argument, expected, got) {
            if (stock !== undefined) return stock.kernelFunc(params) as TensorInfo;
            return refuse(argument, expected, got);
          },
          refuse,
          stock(name, x, attrs, inputs) {
            const kernel = getKernel(name, "wasm");
            const y = kernel.kernelFunc({
              inputs: { x, ...inputs },
              attrs,
              backend: params.backend,
            }) as TensorInfo;
            backend.disposeData(x.dataId);
            return y;
          },
        });
      } finally {
        for (const address of borrowed) heap.free(address);
      }
    },
  });
}

/**
 * Refuses a tensor that our kernels would misread.
 * @param form its rank, or its whole shape
 * @throws TypeError for another dtype, RangeError for another rank or shape; both name kernel, argument and value.
 */
export function checkTensor(
  name: string,
  { dtype, shape }: TensorInfo,
  form: number | readonly number[],
  expected: "float32" | "int32" = "float32",
): void {
  if (dtype !== expected) throw new TypeError(`"${name}" expected ${expected}, got ${dtype}`);
  const fits = typeof form === "number" ? shape.length === form : shape.join() === form.join();
  if (!fits)
    throw new RangeError(
      `"${name}" expected ${typeof form === "number" ? `rank ${form}` : `[${form.join(", ")}]`}, got [${shape.join(", ")}]`,
    );
}
