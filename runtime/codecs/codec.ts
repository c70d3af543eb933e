import type { Layout } from "../tensors/layout.js";
import type { Vectors } from "../tensors/blob.js";

/**
 * How an update's vectors become bytes. The name travels in the capabilities of `hello` and in
 * `assign.settings`.
 */
export interface Codec {
  readonly name: string;
  encode(layout: Layout, vectors: Vectors): Uint8Array<ArrayBuffer>;
  /**
   * The exact first bytes and the exact length of an encoded update with these vectors: a receiver
   * insists on both before it spends memory.
   */
  form(
    layout: Layout,
    names: readonly string[],
  ): { readonly header: Uint8Array; readonly bytes: number };
  /** @throws ModelError `safetensors` or `layout` where the bytes are no such update. */
  decode(bytes: Uint8Array, layout: Layout, names: readonly string[]): Vectors;
}
