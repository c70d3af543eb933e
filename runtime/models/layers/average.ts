import { slid, type Window } from "./fields.js";
import { OUT_OF_PLACE, type Layer, type Run, type Shape } from "./layer.js";

/** The mean over each window: linear, so its tangents are the same maps on other tensors. */
export function averageLayer(
  input: Shape,
  window: Window,
  output: Shape = slid(input, window, window.inChannels),
): Layer {
  const { inHeight, inWidth, inChannels, outHeight, outWidth } = window;
  const { kernelHeight, kernelWidth, strideHeight, strideWidth } = window;
  const { padTop, padLeft } = window;
  const forward = ({ kernels, batch }: Run, x: number, y: number) =>
    // prettier-ignore
    kernels.avgPool(x, y, batch, inHeight, inWidth, inChannels, outHeight, outWidth,
      kernelHeight, kernelWidth, strideHeight, strideWidth, padTop, padLeft);
  const backward = ({ kernels, batch }: Run, dy: number, dx: number) =>
    // prettier-ignore
    kernels.avgPoolBackprop(dy, dx, batch, inHeight, inWidth, inChannels, outHeight, outWidth,
      kernelHeight, kernelWidth, strideHeight, strideWidth, padTop, padLeft);
  return {
    input,
    output,
    parameters: [],
    rectified: false,
    remembers: 0,
    inPlace: OUT_OF_PLACE,
    forward(run, { x, y }) {
      forward(run, x, y);
      return 0;
    },
    backward: (run, { dy, dx }) => backward(run, dy, dx),
    forwardTangent: (run, { xTangent, yTangent }) => forward(run, xTangent, yTangent),
    backwardTangent: (run, { dyTangent, dxTangent }) => backward(run, dyTangent, dxTangent),
  };
}
