import type * as v from "valibot";
import type { Random } from "../../tensors/random.js";
import type { Kernels } from "../../wasm/kernels.js";
import type { Window } from "../../wasm/window.js";
import type { ActivationName } from "./activations.js";

/**
 * Shape of one example, without the batch: [features], [length, channels] or [height, width,
 * channels]; of tokens [length].
 */
export type Shape = readonly number[];

/** A tensor that a layer learns, and what it starts as. */
export interface LayerParameter {
  readonly name: string;
  readonly shape: Shape;
  /** Uniform in +-1/sqrt(fanIn), one number everywhere, or these numbers. */
  readonly initial:
    | { readonly fanIn: number }
    | { readonly constant: number }
    | { readonly values: readonly number[] };
  /** Whether it learns, whatever the description says of the layer; absent: where it is not frozen. */
  readonly learns?: boolean;
  /** A running value: training moves it, by no gradient. */
  readonly statistic?: boolean;
}

/**
 * What batchNorm takes mean and variance from: the running values; the batch at hand; or the batch,
 * by which the running values move too.
 */
export type Statistics = "running" | "batch" | "learned";

/** What is the same for all layers during one pass over a batch. */
export interface Run {
  readonly kernels: Kernels;
  readonly memory: WebAssembly.Memory;
  /** Address of `SCRATCH_BYTES` that any kernel call may overwrite. */
  readonly scratch: number;
  /** Address of a tensor as large as the largest of the plan; used by the tangent passes only. */
  readonly temporary: number;
  /**
   * Address of a tensor as large as any that stays as it is: for the gradients that a kernel writes
   * although nobody wants them.
   */
  readonly discard: number;
  /** Examples in this batch. */
  batch: number;
  /** What the backward pass needs is remembered. */
  remember: boolean;
  statistics: Statistics;
  /** Where dropout draws from; without it nothing is dropped. */
  random?: Random;
}

/** One input of a layer: byte addresses, 0 where a tensor is not wanted. */
export interface Source {
  readonly x: number;
  /** Gradient with respect to the input, to be written; 0 where nothing before learns. */
  readonly dx: number;
  /** Tangent of the input; 0 where it is zero, because nothing before learns. */
  readonly xTangent: number;
  readonly dxTangent: number;
}

/**
 * Where a layer's tensors lie: byte addresses in the heap, fixed when the plan is compiled; 0 where
 * a tensor is not wanted. A "tangent" is the directional derivative of the tensor of that name
 * along a direction in parameter space. The first input's tensors stand in the cells themselves.
 */
export interface Cells extends Source {
  readonly sources: readonly Source[];
  readonly y: number;
  /** What the layer remembers from forward to backward (`Layer.remembers`). */
  readonly memory: number;
  /** What its tangent passes remember beside that (`Layer.remembersTangents`). */
  readonly tangentMemory: number;
  /** The layer's window (`Layer.window`), as kernels read it. */
  readonly window: number;
  readonly parameters: readonly number[];
  /** Gradient with respect to the output; the backward pass may overwrite it. */
  readonly dy: number;
  /** Gradients with respect to the parameters, to be written; 0 for those that do not learn. */
  readonly gradients: readonly number[];
  readonly yTangent: number;
  /** The direction in this layer's parameters. */
  readonly directions: readonly number[];
  readonly dyTangent: number;
  /** Tangents of the gradients, to be written: this layer's part of the Hessian-vector product. */
  readonly products: readonly number[];
}

/**
 * A layer whose shapes are known, as four passes over tensors in the heap, without its activation:
 * that is applied by the plan, which asks a layer that `fusesRelu` to do it on the way. The two
 * tangent passes are Pearlmutter's R-operator (1994, Fast exact multiplication by the Hessian): each
 * is the derivative, along a direction in parameter space, of the pass it is named after, and runs
 * right after that pass of the same layer.
 */
export interface Layer {
  readonly input: Shape;
  readonly output: Shape;
  readonly parameters: readonly LayerParameter[];
  /** `forward` can apply a ReLU and sum squares while it writes y. */
  readonly fusesRelu?: boolean;
  /**
   * This parameter is a bias added to each row of the output: the plan sums the rows of dy (and of
   * its tangent) into its gradient, together with a ReLU's mask where there is one.
   */
  readonly bias?: number;
  /** 4-byte words per example that are kept from forward to backward. */
  readonly remembers?: number;
  /** 4-byte words per example that only the tangent passes keep. */
  readonly remembersTangents?: number;
  /** How the layer's windows slide over its input, where it has such. */
  readonly window?: Window;
  /** The output is the input under another shape: the two share their memory, no pass is run. */
  readonly sameElements?: boolean;
  /** dx may lie where dy lies, where nobody else reads the input. */
  readonly gradientInPlace?: boolean;
  /**
   * What MAN penalises is not the output but a state of so many elements, inside: `forward` returns
   * its sum of squares, and the backward passes are told the coefficient.
   */
  readonly stateElements?: number;
  /** Writes y. Returns the sum of squares of y (after the ReLU) if `norm`, else 0. */
  forward(run: Run, cells: Cells, relu: boolean, norm: boolean): number;
  /** Writes dx and the gradients but the bias', from dy before the activation. */
  backward(run: Run, cells: Cells, penalty: number): void;
  /**
   * `backward`, and the mask, penalty and bias gradient of the ReLU before it in one, where a layer
   * can do both more cheaply: x, no longer needed, becomes the gradient before that ReLU, and `bias`
   * the sum of its rows.
   */
  backwardThroughRelu?(run: Run, cells: Cells, bias: number, penalty: number): void;
  /** Writes yTangent, before the activation. */
  forwardTangent(run: Run, cells: Cells): void;
  /** Writes dxTangent and the products; `backward` has just run. */
  backwardTangent(run: Run, cells: Cells, penalty: number): void;
}

/**
 * Says what is wrong with a layer's field: `"layers[3].conv2d.kernelSize" expected ..., got ...`.
 */
export type Complain = (field: string, expected: string, got: string) => never;

/** A layer, and the activation that its description asks for. */
export interface Resolved {
  readonly layer: Layer;
  readonly activation?: ActivationName;
}

/**
 * One kind of layer: what its description may say, and the layer that follows from it and the
 * inputs' shapes.
 */
export interface LayerKind<Schema extends v.GenericSchema<unknown, { readonly type: string }>> {
  readonly schema: Schema;
  /** An activation layer right behind it becomes part of it. */
  readonly takesActivation?: true;
  /** How many inputs it has: one, or two and more. */
  readonly inputs?: "several";
  resolve(
    description: v.InferOutput<Schema> & { readonly frozen?: boolean },
    inputs: readonly Shape[],
    complain: Complain,
  ): Resolved;
}

/** Binds the types of a kind's schema and its `resolve`. */
export const layerKind = <Schema extends v.GenericSchema<unknown, { readonly type: string }>>(
  kind: LayerKind<Schema>,
): LayerKind<Schema> => kind;

/** A view of floats in the kernels' memory. */
export const floats = ({ memory }: Run, address: number, size: number): Float32Array =>
  new Float32Array(memory.buffer, address, size);

/** to = from, `size` floats. */
export function copy({ memory }: Run, from: number, to: number, size: number): void {
  new Uint8Array(memory.buffer).copyWithin(to, from, from + 4 * size);
}

/** Words per example of what is kept, by name. */
export type Words<Name extends string> = Readonly<Record<Name, number>>;

/** Consecutive regions of memory for a batch: how many words per example each takes. */
export function regions<Name extends string>(
  address: number,
  batch: number,
  words: Words<Name>,
): Readonly<Record<Name, number>> {
  let at = address;
  const places = Object.entries<number>(words).map(([name, count]) => {
    const place = at;
    at += 4 * batch * count;
    return [name, place] as const;
  });
  return Object.fromEntries(places) as Record<Name, number>;
}

/** How many words per example the regions take. */
export const wordsOf = (words: Words<string>): number =>
  Object.values(words).reduce((sum, count) => sum + count, 0);
