import { formOf, type Codec } from "./codec.js";
import { blockEdges, fromBytes, toBytes } from "./parts/blocks.js";
import {
  countOf,
  gathered,
  largestOf,
  readPlaces,
  scattered,
  spansOf,
  writePlaces,
} from "./parts/largest.js";

/** `topk`, the numbers kept as `int8` writes them. */
export const topkInt8: Codec = {
  name: "topk-int8",
  coarse: true,
  defaults: { fraction: 0.01, block: 256 },
  form(layout, names, { fraction, block } = topkInt8.defaults) {
    const { size } = layout;
    // Above this fraction it is longer than int8.
    const k = countOf(fraction, size, 1 / 3);
    const edges = blockEdges([k], block);
    return formOf(
      layout,
      names,
      [
        ["U32", "count", spansOf(size)],
        ["BF16", "scale", edges.length - 1],
        ["U16", "offset", k],
        ["I8", "value", k],
      ],
      (vector, [counts, scales, offsets, bytes], round) => {
        const places = largestOf(vector, k);
        writePlaces(places, counts, offsets);
        toBytes(gathered(vector, places), edges, scales, bytes, round);
      },
      ([counts, scales, offsets, bytes], round) =>
        scattered(size, readPlaces(counts, offsets, size), fromBytes(edges, scales, bytes, round)),
    );
  },
};
