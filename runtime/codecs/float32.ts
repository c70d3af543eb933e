import { ModelError } from "../errors.js";
import { blobForm, writeBlob } from "../tensors/blob.js";
import type { Codec } from "./codec.js";

/** Every number as it is, four bytes: a safetensors file of whole vectors. */
export const float32: Codec = {
  name: "float32",
  encode: writeBlob,
  form(layout, names) {
    const { header, bytes } = blobForm(layout, names);
    return {
      header,
      bytes,
      decode(update) {
        if (update.length !== bytes)
          throw new ModelError("layout", `"update" expected ${bytes} bytes, got ${update.length}`);
        if (!header.every((byte, i) => byte === update[i]))
          throw new ModelError(
            "layout",
            `"header" expected the names and shapes of the model, got others`,
          );
        const at = update.byteOffset + header.length;
        const body =
          at % 4 === 0
            ? new Float32Array(update.buffer, at, names.length * layout.size)
            : new Float32Array(update.slice(header.length).buffer);
        return Object.fromEntries(
          names.map((name, i) => [name, body.subarray(i * layout.size, (i + 1) * layout.size)]),
        );
      },
    };
  },
};
