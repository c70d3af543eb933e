import { Elu, LeakyRelu, Prelu, Relu6, Sigmoid, type TensorInfo } from "@tensorflow/tfjs-core";
import type { Call } from "./registration.js";

/** What tfjs hands to its fused kernels about the activation behind them. */
export interface ActivationAttributes {
  readonly activation: string;
  /** The slope of `leakyrelu` below 0. */
  readonly leakyreluAlpha?: number;
}

/** Activations that our kernels do not have, by the kernel of tfjs that computes them. */
const OF_TFJS: Readonly<Record<string, string>> = {
  elu: Elu,
  leakyrelu: LeakyRelu,
  prelu: Prelu,
  relu6: Relu6,
  sigmoid: Sigmoid,
};

/**
 * A fused kernel's output behind its activation: ours computes `linear` and `relu` itself, all
 * others are tfjs's own kernel on the linear output.
 * @param y computes the output, with ReLU or without
 * @param slopes of `prelu` below 0
 * @throws RangeError for an activation that tfjs does not know
 */
export function activated(
  call: Pick<Call<unknown, unknown>, "refuse" | "stock">,
  { activation, leakyreluAlpha }: ActivationAttributes,
  y: (relu: boolean) => TensorInfo,
  slopes: TensorInfo | undefined,
): TensorInfo {
  if (activation === "linear" || activation === "relu") return y(activation === "relu");
  if (!Object.hasOwn(OF_TFJS, activation))
    return call.refuse(
      "activation",
      `linear, relu, ${Object.keys(OF_TFJS).join(", ")}`,
      activation,
    );
  if (activation === "prelu" && slopes === undefined)
    return call.refuse("preluActivationWeights", "the slopes of prelu", "nothing");
  const alpha = activation === "prelu" ? slopes : undefined;
  return call.stock(
    OF_TFJS[activation],
    y(false),
    leakyreluAlpha === undefined ? {} : { alpha: leakyreluAlpha },
    alpha && { alpha },
  );
}
