import { formOf, type Codec } from "./codec.js";

/** The upper half of each float32, to nearest, ties to even: a relative error of 2^-8 at most. */
export const bfloat16: Codec = {
  name: "bfloat16",
  defaults: {},
  form: (layout, names) =>
    formOf(
      layout,
      names,
      [["BF16"]],
      (vector, [halves]) => {
        const bits = new Uint32Array(vector.buffer, vector.byteOffset, vector.length);
        for (let i = 0; i < bits.length; i++)
          halves[i] = (bits[i] + 0x7fff + ((bits[i] >>> 16) & 1)) >>> 16;
      },
      ([halves]) => {
        const bits = new Uint32Array(halves.length);
        for (let i = 0; i < bits.length; i++) bits[i] = halves[i] << 16;
        return new Float32Array(bits.buffer);
      },
    ),
};
