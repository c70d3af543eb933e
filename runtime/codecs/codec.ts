import type { Vectors } from "../tensors/blob.js";
import type { Layout } from "../tensors/layout.js";

/**
 * How an update's vectors become bytes. The name travels in the capabilities of `hello` and in
 * `assign`.
 */
export interface Codec {
  readonly name: string;
  encode(layout: Layout, vectors: Vectors): Uint8Array<ArrayBuffer>;
  /** What every update with these vectors over the layout looks like. */
  form(layout: Layout, names: readonly string[]): UpdateForm;
}

/** A receiver insists on header and length before it spends memory. */
export interface UpdateForm {
  /** The exact first bytes. */
  readonly header: Uint8Array;
  /** The exact length. */
  readonly bytes: number;
  /**
   * The vectors of an update: views of its bytes where the codec and their alignment allow, else
   * copies. The numbers are not checked; they may be NaN.
   * @throws ModelError `layout` where the bytes are no such update.
   */
  decode(update: Uint8Array): Vectors;
}
