import { formOf, type Codec } from "./codec.js";
import {
  countOf,
  gathered,
  largestOf,
  readPlaces,
  scattered,
  spansOf,
  writePlaces,
} from "./parts/largest.js";

/** The largest numbers of a vector, the others 0 (Stich et al. 2018, arXiv:1809.07599). */
export const topk: Codec = {
  name: "topk",
  coarse: true,
  defaults: { fraction: 0.01 },
  form(layout, names, { fraction } = topk.defaults) {
    const { size } = layout;
    // Above this fraction it is longer than int8.
    const k = countOf(fraction, size, 1 / 6);
    return formOf(
      layout,
      names,
      [
        ["F32", "value", k],
        ["U32", "count", spansOf(size)],
        ["U16", "offset", k],
      ],
      (vector, [values, counts, offsets]) => {
        const places = largestOf(vector, k);
        values.set(gathered(vector, places));
        writePlaces(places, counts, offsets);
      },
      ([values, counts, offsets]) => scattered(size, readPlaces(counts, offsets, size), values),
    );
  },
};
