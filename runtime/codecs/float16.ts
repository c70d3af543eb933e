import { formOf, type Codec } from "./codec.js";
import { fromHalves, toHalves } from "./parts/half.js";

/** Halves with an exponent for each parameter: a relative error of 2^-11 down to its 2^-29th. */
export const float16: Codec = {
  name: "float16",
  defaults: {},
  form: (layout, names) =>
    formOf(
      layout,
      names,
      [["I16", "exponent", layout.parameters.length], ["F16"]],
      (vector, [exponents, halves]) => toHalves(layout, vector, exponents, halves),
      ([exponents, halves]) => fromHalves(layout, exponents, halves),
    ),
};
