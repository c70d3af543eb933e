import * as v from "valibot";
import type { Window } from "../../wasm/window.js";
import { elements } from "../../tensors/shape.js";
import { poolFields, poolWindow, slid, wholeOf } from "./fields.js";
import { layerKind, type Layer, type Shape } from "./layer.js";

/**
 * The largest value of each window, of an image or a sequence; windows do not overlap unless
 * `strides` says so.
 */
export const maxPool = layerKind({
  schema: v.strictObject({ type: v.literal("maxPool"), ...poolFields }),
  resolve(description, [input], complain) {
    const window = poolWindow(input, description, complain);
    return { layer: maxPoolLayer(input, window) };
  },
});

/** The largest over all positions, the first where several are equal: [channels]. */
export const globalMaxPool = layerKind({
  schema: v.strictObject({ type: v.literal("globalMaxPool") }),
  resolve(_description, [input], complain) {
    const { window, output } = wholeOf(input, complain);
    return { layer: maxPoolLayer(input, window, output) };
  },
});

function maxPoolLayer(input: Shape, window: Window, output: Shape = slid(input, window)): Layer {
  const inSize = elements(input);
  const outSize = elements(output);
  return {
    input,
    output,
    parameters: [],
    remembers: outSize,
    window,
    forward({ kernels, batch, remember }, { window, x, y, memory }) {
      kernels.maxPool(window, batch, x, y, remember ? memory : 0);
      return 0;
    },
    backward({ kernels, batch }, { dy, dx, memory }) {
      if (dx !== 0) kernels.maxPoolBackprop(dy, memory, dx, batch * inSize, batch * outSize);
    },
    backwardThroughRelu: ({ kernels, batch }, { x, y, dy, memory }, bias, penalty) =>
      kernels.maxPoolReluBackprop(
        ...([x, y, dy, memory, bias] as const),
        batch * inSize,
        batch * outSize,
        window.inChannels,
        penalty,
      ),
    forwardTangent: ({ kernels, batch }, { xTangent, yTangent, memory }) =>
      kernels.gatherByIndex(xTangent, memory, yTangent, batch * outSize),
    backwardTangent({ kernels, batch }, { dyTangent, dxTangent, memory }) {
      if (dxTangent !== 0)
        kernels.maxPoolBackprop(dyTangent, memory, dxTangent, batch * inSize, batch * outSize);
    },
  };
}
