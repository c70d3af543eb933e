import type * as v from "valibot";
import type { Random } from "../../tensors/random.js";
import type { Kernels } from "../../wasm/kernels.js";
import type { Window } from "../../wasm/window.js";

/**
 * Shape of one example, without the batch: [features], [length, channels] or [height, width,
 * channels].
 */
export type Shape = readonly number[];

/** Number of elements of one example. */
export const elements = (shape: Shape): number =>
  shape.reduce((product, dimension) => product * dimension, 1);

/** A tensor that a layer learns, and what it starts as. */
export interface LayerParameter {
  readonly name: "kernel" | "bias" | "gamma" | "beta";
  readonly shape: Shape;
  /** Uniform in +-1/sqrt(fanIn), or one number everywhere. */
  readonly initial: { readonly fanIn: number } | { readonly constant: number };
}

/** What is the same for all layers during one pass over a batch. */
export interface Run {
  readonly kernels: Kernels;
  readonly memory: WebAssembly.Memory;
  /** Address of `SCRATCH_BYTES` that any kernel call may overwrite. */
  readonly scratch: number;
  /** Address of a tensor as large as the largest of the plan; used by the tangent passes only. */
  readonly temporary: number;
  /** Examples in this batch. */
  batch: number;
  /** What the backward pass needs is remembered. */
  remember: boolean;
  /** Where dropout draws from; without it nothing is dropped. */
  random?: Random;
}

/**
 * Where a layer's tensors lie: byte addresses in the heap, fixed when the plan is compiled; 0 where
 * a tensor is not wanted. A "tangent" is the directional derivative of the tensor of that name
 * along a direction in parameter space.
 */
export interface Cells {
  /** Input and output. */
  readonly x: number;
  readonly y: number;
  /** What the layer remembers from forward to backward (`Layer.remembers`). */
  readonly memory: number;
  /** The layer's window (`Layer.window`), as kernels read it. */
  readonly window: number;
  readonly parameters: readonly number[];
  /** Gradient of the objective with respect to the output; the backward pass may overwrite it. */
  readonly dy: number;
  /**
   * Gradient with respect to the input, to be written; 0 where nothing before this layer learns.
   */
  readonly dx: number;
  /** Gradients with respect to the parameters, to be written. */
  readonly gradients: readonly number[];
  /** Tangent of the input; 0 where it is zero, because nothing before this layer learns. */
  readonly xTangent: number;
  readonly yTangent: number;
  /** The direction in this layer's parameters. */
  readonly directions: readonly number[];
  readonly dyTangent: number;
  readonly dxTangent: number;
  /** Tangents of the gradients, to be written: this layer's part of the Hessian-vector product. */
  readonly products: readonly number[];
}

/**
 * A layer whose shapes are known, as four passes over tensors in the heap. The two tangent passes
 * are Pearlmutter's R-operator (1994, Fast exact multiplication by the Hessian): each is the
 * derivative, along a direction in parameter space, of the pass it is named after, and runs right
 * after that pass of the same layer.
 */
export interface Layer {
  readonly input: Shape;
  readonly output: Shape;
  readonly parameters: readonly LayerParameter[];
  /** The output went through a ReLU: it is an activation whose norm MAN penalises. */
  readonly rectified: boolean;
  /** 4-byte words per example that are kept from forward to backward. */
  readonly remembers: number;
  /** How the layer's windows slide over its input, where it has such. */
  readonly window?: Window;
  /** The output takes its input's place in memory; the same for the gradients. */
  readonly inPlace: { readonly forward: boolean; readonly backward: boolean };
  /**
   * Writes y. Returns the sum of squares of y if it is `rectified` and `norm` is asked for, else 0.
   */
  forward(run: Run, cells: Cells, norm: boolean): number;
  /**
   * The first half of the backward pass, where there is an activation or a bias: dy <- (dy +
   * penalty y) masked by the ReLU (MAN's gradient), and the bias' gradient.
   */
  backwardActivation?(run: Run, cells: Cells, penalty: number): void;
  /** The other half: writes dx and the gradients. */
  backward(run: Run, cells: Cells): void;
  /**
   * `backward` and the `backwardActivation` of the rectified layer before in one, where a layer can
   * do both more cheaply: x, no longer needed, becomes the gradient before that ReLU, and `bias`
   * the sum of its rows.
   */
  backwardThroughRelu?(run: Run, cells: Cells, bias: number, penalty: number): void;
  /** Writes yTangent. */
  forwardTangent(run: Run, cells: Cells): void;
  /** Writes dxTangent and the products; both halves of the backward pass have just run. */
  backwardTangent(run: Run, cells: Cells, penalty: number): void;
}

/**
 * Says what is wrong with a layer's field: `"layers[3].conv2d.kernelSize" expected ..., got ...`.
 */
export type Complain = (field: string, expected: string, got: string) => never;

/**
 * One kind of layer: what its description may say, and the layer that follows from it and the
 * input's shape.
 */
export interface LayerKind<Schema extends v.GenericSchema<unknown, { readonly type: string }>> {
  readonly schema: Schema;
  /** A ReLU layer right behind it becomes part of it. */
  readonly takesRelu: boolean;
  resolve(
    description: v.InferOutput<Schema>,
    input: Shape,
    relu: boolean,
    complain: Complain,
  ): Layer;
}

/** Binds the types of a kind's schema and its `resolve`. */
export const layerKind = <Schema extends v.GenericSchema<unknown, { readonly type: string }>>(
  kind: LayerKind<Schema>,
): LayerKind<Schema> => kind;

/** For layers that compute into memory of their own. */
export const OUT_OF_PLACE = { forward: false, backward: false };
export const IN_PLACE = { forward: true, backward: true };
