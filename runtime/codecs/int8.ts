import { formOf, type Codec } from "./codec.js";
import { blockEdges, fromBytes, toBytes } from "./parts/blocks.js";

/**
 * A byte for each number and a scale for each block of them, rounded up or down by chance (Alistarh
 * et al. 2017, QSGD, arXiv:1610.02132): a quarter of the bytes, and the mean of many updates is
 * that of the numbers.
 */
export const int8: Codec = {
  name: "int8",
  defaults: { block: 256 },
  form(layout, names, { block } = int8.defaults) {
    const edges = blockEdges(
      layout.parameters.map(({ size }) => size),
      block,
    );
    return formOf(
      layout,
      names,
      [["BF16", "scale", edges.length - 1], ["I8"]],
      (vector, [scales, bytes], round) => toBytes(vector, edges, scales, bytes, round),
      ([scales, bytes], round) => fromBytes(edges, scales, bytes, round),
    );
  },
};
