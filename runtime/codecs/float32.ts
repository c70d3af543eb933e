import { formOf, type Codec } from "./codec.js";

/** Every number as it is, four bytes: a safetensors file of whole vectors. */
export const float32: Codec = {
  name: "float32",
  defaults: {},
  form: (layout, names) =>
    formOf(
      layout,
      names,
      [["F32"]],
      (vector, [numbers]) => numbers.set(vector),
      ([numbers]) => numbers,
    ),
};
