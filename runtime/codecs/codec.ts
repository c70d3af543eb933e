import { ModelError } from "../errors.js";
import type { Vectors } from "../tensors/blob.js";
import type { Layout, Vector } from "../tensors/layout.js";
import { ARRAYS, safetensorsHeader } from "../tensors/safetensors.js";

/**
 * How an update's vectors become bytes. The name travels in the capabilities of `hello` and in
 * `assign`. A codec is a pure function: the numbers that its bytes decode to are the update, for
 * the client that sends it and for the aggregator that adds it up.
 */
export interface Codec {
  readonly name: string;
  /**
   * So little is left of a vector that the rest has to be sent later: it does not go with every
   * algorithm.
   */
  readonly coarse?: true;
  /** The codec's own numbers and their defaults. */
  readonly defaults: Readonly<Record<string, number>>;
  /**
   * What every update with these vectors over the layout looks like.
   * @throws ModelError `codec-settings` for a number out of its bounds.
   */
  form(
    layout: Layout,
    names: readonly string[],
    settings?: Readonly<Record<string, number>>,
  ): UpdateForm;
}

/** A receiver insists on header and length before it spends memory. */
export interface UpdateForm {
  /** The exact first bytes. */
  readonly header: Uint8Array;
  /** The exact length. */
  readonly bytes: number;
  /**
   * The places whose numbers are sent, where they are drawn by lot: the same for all clients of a
   * piece of work, named `<run>/round-<r>/attempt-<a>`.
   */
  draw?(work: string): Promise<Uint32Array>;
  /** Every number is finite, and on the round's grid if it has one. Missing vectors are refused. */
  encode(vectors: Vectors, round?: Encoding): Uint8Array<ArrayBuffer>;
  /**
   * The vectors of an update, in memory of their own or as views of its bytes. Their numbers are not
   * checked; they may be NaN.
   * @throws ModelError `layout` where the bytes are no such update.
   */
  decode(update: Uint8Array, round?: Decoding): Vectors;
}

/** Numbers as they travel: bytes, each times the scale of its block. */
export interface Blocks {
  readonly bytes: Int8Array;
  /** Where each block begins, and where the last one ends. */
  readonly edges: Uint32Array;
  readonly scales: Float64Array;
}

/** What both ends know of the round beside the bytes. */
export interface Decoding {
  /** The power of two of which every number is a multiple, where the round has one. */
  readonly grid?: number;
  /** What `draw` gave. */
  readonly drawn?: Uint32Array;
}

export interface Encoding extends Decoding {
  /**
   * Numbers in [0, 1) for stochastic rounding, one for each number that is rounded. Without it they
   * are rounded to nearest, ties to even.
   */
  readonly chance?: () => number;
}

type Kind = keyof typeof ARRAYS;
type ArrayKind = {
  new (buffer: ArrayBufferLike, at: number, length: number): ArrayBufferView;
  readonly BYTES_PER_ELEMENT: number;
};

/**
 * A row of tensors, one for each vector: `name/<vector>` of so many numbers. Without a name the
 * vector's own, `<vector>/<parameter>`, in the shapes of the layout.
 */
type Row<K extends Kind> = readonly [kind: K, name?: string, length?: number];

/** The numbers of one vector, row by row. */
type Parts<R extends readonly Row<Kind>[]> = {
  readonly [I in keyof R]: InstanceType<(typeof ARRAYS)[R[I][0]]>;
};

/**
 * The form of updates whose rows of tensors are these: a safetensors file, row after row, each with
 * its tensors for all vectors. Rows of wide numbers come before those of narrow ones, so that all
 * lie aligned.
 */
export function formOf<const R extends readonly Row<Kind>[], N = Vector>(
  layout: Layout,
  names: readonly string[],
  rows: R,
  encode: (vector: Vector, parts: Parts<R>, round: Encoding) => void,
  decode: (parts: Parts<R>, round: Decoding) => N,
): Omit<UpdateForm, "draw" | "decode"> & {
  decode(update: Uint8Array, round?: Decoding): Record<string, N>;
} {
  const header = safetensorsHeader(
    rows.flatMap(([kind, name, length = 0]) =>
      names.flatMap((vector) =>
        name === undefined
          ? layout.parameters.map((one) => ({
              name: `${vector}/${one.name}`,
              kind,
              shape: one.shape,
            }))
          : [{ name: `${name}/${vector}`, kind, shape: [length] }],
      ),
    ),
  );
  const lengths = rows.map(([, name, length = 0]) => (name === undefined ? layout.size : length));
  const bytes = rows.reduce(
    (at, [kind], i) => at + names.length * lengths[i] * ARRAYS[kind].BYTES_PER_ELEMENT,
    header.length,
  );

  /** The parts of the vector of that place among the names. */
  function partsOf(update: Uint8Array, vector: number): Parts<R> {
    let at = update.byteOffset + header.length;
    return rows.map(([kind], i) => {
      const ArrayOf: ArrayKind = ARRAYS[kind];
      const size = lengths[i] * ArrayOf.BYTES_PER_ELEMENT;
      const part = new ArrayOf(update.buffer, at + vector * size, lengths[i]);
      at += names.length * size;
      return part;
    }) as unknown as Parts<R>;
  }

  return {
    header,
    bytes,
    encode(vectors, round = {}) {
      const update = new Uint8Array(bytes);
      update.set(header);
      names.forEach((name, i) => {
        const vector = vectors[name];
        if (vector?.length !== layout.size)
          throw new ModelError(
            "layout",
            `"${name}" expected ${layout.size} numbers, got ${vector?.length ?? "none"}`,
          );
        encode(vector, partsOf(update, i), round);
      });
      return update;
    },
    decode(update, round = {}) {
      if (update.length !== bytes)
        throw new ModelError("layout", `"update" expected ${bytes} bytes, got ${update.length}`);
      if (!header.every((byte, i) => byte === update[i]))
        throw new ModelError(
          "layout",
          `"header" expected the names and shapes of the model, got others`,
        );
      const aligned = update.byteOffset % 4 === 0 ? update : update.slice();
      return Object.fromEntries(names.map((name, i) => [name, decode(partsOf(aligned, i), round)]));
    },
  };
}

/** @throws ModelError `codec-settings` unless the number is in its bounds. */
export function requireSetting(name: string, value: number, isRight: boolean, expected: string) {
  if (!isRight)
    throw new ModelError("codec-settings", `"${name}" expected ${expected}, got ${value}`);
}
