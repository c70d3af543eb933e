import type { Layout } from "../tensors/layout.js";
import { formOf, type Blocks, type Codec, type Decoding } from "./codec.js";
import { blockEdges, fromBytes, readBlocks, toBytes } from "./parts/blocks.js";

/**
 * A byte for each number and a scale for each block of them, rounded up or down by chance (Alistarh
 * et al. 2017, QSGD, arXiv:1610.02132): a quarter of the bytes, and the mean of many updates is
 * that of the numbers.
 */
export const int8: Codec = {
  name: "int8",
  defaults: { block: 256 },
  form: (layout, names, numbers = int8.defaults) => int8Form(layout, names, numbers, fromBytes),
};

/** Reads an update of that form as blocks of bytes, views of it. */
export const int8Blocks = (
  layout: Layout,
  names: readonly string[],
  numbers: Readonly<Record<string, number>> = int8.defaults,
): ((update: Uint8Array, round?: Decoding) => Record<string, Blocks>) =>
  int8Form(layout, names, numbers, readBlocks).decode;

/** The form, whose vectors are read by `read`. */
function int8Form<N>(
  layout: Layout,
  names: readonly string[],
  { block }: Readonly<Record<string, number>>,
  read: (edges: Uint32Array, scales: Uint16Array, bytes: Int8Array, round: Decoding) => N,
) {
  const edges = blockEdges(
    layout.parameters.map(({ size }) => size),
    block,
  );
  return formOf(
    layout,
    names,
    [["BF16", "scale", edges.length - 1], ["I8"]],
    (vector, [scales, bytes], round) => toBytes(vector, edges, scales, bytes, round),
    ([scales, bytes], round) => read(edges, scales, bytes, round),
  );
}
