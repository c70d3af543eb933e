import { formOf, type Codec } from "./codec.js";
import { bitsOfScale, nearest, readScale, scaleOf } from "./parts/scale.js";

/** A bit for each number, and for each parameter the mean size (Karimireddy et al. 2019, arXiv:1901.09847). */
export const sign: Codec = {
  name: "sign",
  coarse: true,
  defaults: {},
  form(layout, names) {
    const { parameters, size: total } = layout;
    return formOf(
      layout,
      names,
      [
        ["BF16", "scale", parameters.length],
        ["U8", "sign", Math.ceil(total / 8)],
      ],
      (vector, [scales, signs], { grid = 0 }) => {
        const bits = new Int32Array(vector.buffer, vector.byteOffset, total);
        // Without a branch, for half of the guesses at a sign are wrong: below 0 is what has the
        // sign bit and is not -0, whose other bits are none.
        for (let i = 0; i < total; i++) {
          const size = bits[i] << 1;
          signs[i >>> 3] |= (~(bits[i] & (size | -size)) >>> 31) << (i & 7);
        }
        parameters.forEach(({ offset, size }, p) => {
          let sum = 0;
          for (let i = offset; i < offset + size; i++) sum += Math.abs(vector[i]);
          scales[p] = bitsOfScale(scaleOf(sum / size, grid, nearest));
        });
      },
      ([scales, signs], { grid }) => {
        const vector = new Float32Array(total);
        parameters.forEach(({ offset, size }, p) => {
          const scale = readScale(scales[p], grid);
          const either = Float32Array.of(-scale, scale);
          for (let i = offset; i < offset + size; i++)
            vector[i] = either[(signs[i >>> 3] >>> (i & 7)) & 1];
        });
        return vector;
      },
    );
  },
};
