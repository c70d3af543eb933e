import { parseDescription, type ModelDescription } from "../../runtime/models/description.js";

/** Expansion, channels, repeats and first stride of each group of blocks (arXiv:1801.04381, table 2). */
const GROUPS = [
  [1, 16, 1, 1],
  [6, 24, 2, 2],
  [6, 32, 3, 2],
  [6, 64, 4, 2],
  [6, 96, 3, 1],
  [6, 160, 3, 2],
  [6, 320, 1, 1],
] as const;

/**
 * MobileNetV2 as Keras has it: 162 layers with the input, five paddings by zeros and a head of three
 * dense layers and two dropouts; here padding belongs to a convolution and the input is no layer.
 * All is frozen but the head.
 */
export function mobilenetV2(side: number, classes: number): ModelDescription {
  const layers: object[] = [];
  const normalised = (layer: object, activation?: "relu6") =>
    layers.push(
      { ...layer, frozen: true },
      { type: "batchNorm", frozen: true, epsilon: 1e-3 },
      ...(activation ? [{ type: "activation", activation }] : []),
    );
  normalised({ type: "conv2d", filters: 32, kernelSize: 3, strides: 2, padding: "same" }, "relu6");
  let channels = 32;
  for (const [expansion, filters, repeats, first] of GROUPS)
    for (let i = 0; i < repeats; i++) {
      const strides = i === 0 ? first : 1;
      const wide = expansion * channels;
      const begin = `before_${layers.length}`;
      Object.assign(layers[layers.length - 1], { name: begin });
      if (expansion > 1) normalised({ type: "conv2d", filters: wide, kernelSize: 1 }, "relu6");
      normalised({ type: "depthwiseConv2d", kernelSize: 3, strides, padding: "same" }, "relu6");
      normalised({ type: "conv2d", filters, kernelSize: 1 });
      if (strides === 1 && filters === channels) {
        const end = `behind_${layers.length}`;
        Object.assign(layers[layers.length - 1], { name: end });
        layers.push({ type: "add", inputs: [begin, end] });
      }
      channels = filters;
    }
  normalised({ type: "conv2d", filters: 1280, kernelSize: 1 }, "relu6");
  layers.push({ type: "globalAvgPool" }, ...headOf(classes));
  return parseDescription({ input: [side, side, 3], layers });
}

/** Its head, which learns. */
export const headOf = (classes: number): object[] => [
  { type: "dropout", rate: 0.2 },
  { type: "dense", units: 256, activation: "relu" },
  { type: "dropout", rate: 0.2 },
  { type: "dense", units: 64, activation: "relu" },
  { type: "dense", units: classes },
];
