import { formOf, requireSetting, type Codec } from "./codec.js";
import { countOf, gathered, largest, scattered } from "./parts/largest.js";

/**
 * The numbers at places drawn by lot, the same for all clients of a round, the others 0. `scaled` 1
 * sends them times size/k, so that the mean over the lots is the vector.
 */
export const randk: Codec = {
  name: "randk",
  coarse: true,
  defaults: { fraction: 0.01, scaled: 0 },
  form(layout, names, { fraction, scaled } = randk.defaults) {
    const { size } = layout;
    const k = countOf(fraction, size, 1);
    requireSetting("scaled", scaled, scaled === 0 || scaled === 1, "0 or 1");
    return {
      async draw(work) {
        const { subtle } = crypto;
        const seed = await subtle.digest(
          "SHA-256",
          new TextEncoder().encode(`fedflat/1 randk\n${work}`),
        );
        const key = await subtle.importKey("raw", seed, "AES-CTR", false, ["encrypt"]);
        const lot = await subtle.encrypt(
          { name: "AES-CTR", counter: new Uint8Array(16), length: 64 },
          key,
          new Uint8Array(4 * size),
        );
        // The k smallest.
        return largest(
          new Uint32Array(lot).map((word) => ~word),
          k,
        );
      },
      ...formOf(
        layout,
        names,
        [["F32", "value", k]],
        (vector, [values], { grid = 0, drawn }) => {
          values.set(gathered(vector, drawn!));
          // Longer by a float32's rounding, then on the grid again.
          const shift = 1.5 * 2 ** 52 * grid;
          if (scaled === 1)
            for (let i = 0; i < k; i++)
              values[i] = Math.fround(values[i] * (size / k)) + shift - shift;
        },
        ([values], { drawn }) => scattered(size, drawn!, values),
      ),
    };
  },
};
