import { blobForm, readBlob, writeBlob } from "../tensors/blob.js";
import type { Codec } from "./codec.js";

/** Every number as it is, four bytes: a safetensors file of whole vectors. */
export const float32: Codec = {
  name: "float32",
  encode: writeBlob,
  form: blobForm,
  decode: readBlob,
};
