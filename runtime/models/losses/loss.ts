import type * as v from "valibot";
import type { Run, Shape } from "../layers/layer.js";

/** What a model is for, as its loss says: which targets it learns from, and which metrics it has. */
export type ModelTask =
  /** One class for each example. */
  | "classes"
  /** One class for each position of an example. */
  | "sequence"
  /** Labels that are there or not, several at once. */
  | "labels"
  /** Numbers. */
  | "numbers"
  /** The input itself. */
  | "input";

/** What a loss compares an example's output with. */
export type Target =
  /** Classes as int32, -1 where a position has none. */
  | { readonly kind: "classes"; readonly size: number }
  /** Numbers as float32. */
  | { readonly kind: "numbers"; readonly size: number; readonly isShare?: boolean }
  /** The normalised input itself. */
  | { readonly kind: "input"; readonly size: number };

/** Where one batch's tensors lie: byte addresses; 0 for what is not wanted. */
export interface LossCells {
  readonly output: number;
  readonly target: number;
  /** The loss' own numbers (`Loss.constants`). */
  readonly constants: number;
  /** The gradient of the mean loss with respect to the output, to be written. */
  readonly gradient: number;
}

/** A task loss whose shapes are known. All means are over the batch's examples and what lies in them. */
export interface Loss {
  readonly task: ModelTask;
  readonly target: Target;
  /** Numbers that its kernels read: weights of classes or columns. */
  readonly constants: readonly number[];
  /** What the sum over the batch is divided by; 0 where nothing counts, and the loss is 0. */
  count(run: Run, cells: LossCells): number;
  /** Writes the gradient of the mean, where it is wanted; returns the mean. */
  mean(run: Run, cells: LossCells, count: number): number;
  /** gradientTangent = the derivative of the gradient along outputTangent. */
  tangent(
    run: Run,
    cells: LossCells,
    count: number,
    outputTangent: number,
    gradientTangent: number,
  ): void;
  /** How many predictions are right, and of how many; for losses of classes only. */
  hits?(run: Run, cells: LossCells): number;
}

/** One kind of loss: what a description may say of it, and the loss for an output. */
export interface LossKind<Schema extends v.GenericSchema<unknown, { readonly type: string }>> {
  readonly schema: Schema;
  /** It takes logits: the last layer has no activation of its own. */
  readonly takesLogits: boolean;
  resolve(
    description: v.InferOutput<Schema>,
    output: Shape,
    input: Shape,
    complain: (field: string, expected: string, got: string) => never,
  ): Loss;
}

/** Binds the types of a kind's schema and its `resolve`. */
export const lossKind = <Schema extends v.GenericSchema<unknown, { readonly type: string }>>(
  kind: LossKind<Schema>,
): LossKind<Schema> => kind;
