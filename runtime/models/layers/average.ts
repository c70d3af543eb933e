import type { Window } from "../../wasm/window.js";
import { slid } from "./fields.js";
import { type Layer, type Run, type Shape } from "./layer.js";

/** The mean over each window: linear, so its tangents are the same maps on other tensors. */
export function averageLayer(
  input: Shape,
  window: Window,
  output: Shape = slid(input, window),
): Layer {
  const forward = ({ kernels, batch }: Run, window: number, x: number, y: number) =>
    kernels.avgPool(window, batch, x, y);
  const backward = ({ kernels, batch }: Run, window: number, dy: number, dx: number) =>
    kernels.avgPoolBackprop(window, batch, dy, dx);
  return {
    input,
    output,
    parameters: [],
    window,
    forward(run, { window, x, y }) {
      forward(run, window, x, y);
      return 0;
    },
    backward(run, { window, dy, dx }) {
      if (dx !== 0) backward(run, window, dy, dx);
    },
    forwardTangent: (run, { window, xTangent, yTangent }) =>
      forward(run, window, xTangent, yTangent),
    backwardTangent(run, { window, dyTangent, dxTangent }) {
      if (dxTangent !== 0) backward(run, window, dyTangent, dxTangent);
    },
  };
}
