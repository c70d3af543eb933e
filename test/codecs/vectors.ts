import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { layoutOf } from "../../runtime/tensors/layout.js";

// Numbers of test/vectors/next, or of another folder of the same form.
const folder =
  process.env.FEDFLAT_VECTORS_NEXT ??
  fileURLToPath(new URL("../../../test/vectors/next", import.meta.url));

export const bytesOf = (file: string): Uint8Array => readFileSync(join(folder, file));

export const reference = JSON.parse(new TextDecoder().decode(bytesOf("codecs.json"))) as {
  readonly layout: readonly (readonly [string, readonly number[]])[];
  readonly vectors: readonly string[];
  readonly grid: number;
  readonly block: number;
  readonly fraction: number;
  readonly codecs: Readonly<
    Record<string, { readonly k?: number; readonly block?: number; readonly seed?: string }>
  > & {
    readonly indices: {
      readonly size: number;
      readonly indices: readonly number[];
      readonly count: readonly number[];
      readonly offset: readonly number[];
    };
  };
};

export const layout = layoutOf(reference.layout.map(([name, shape]) => ({ name, shape })));

const ARRAYS = {
  F32: Float32Array,
  F64: Float64Array,
  U32: Uint32Array,
  BF16: Uint16Array,
  I8: Int8Array,
};
type Numbers = InstanceType<(typeof ARRAYS)[keyof typeof ARRAYS]>;

/** The tensors of codecs.safetensors, read without our own reader. */
export const tensors: Readonly<Record<string, Numbers>> = (() => {
  const file = Uint8Array.from(bytesOf("codecs.safetensors"));
  const length = Number(new DataView(file.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length))) as Record<
    string,
    { readonly dtype: keyof typeof ARRAYS; readonly data_offsets: readonly [number, number] }
  >;
  return Object.fromEntries(
    Object.entries(header).map(
      ([
        name,
        {
          dtype,
          data_offsets: [from, to],
        },
      ]) => [name, new ARRAYS[dtype](file.slice(8 + length + from, 8 + length + to).buffer)],
    ),
  );
})();

/** A float32 tensor of the file; of several rows one. */
export function float32Of(name: string, row = 0): Float32Array {
  const numbers = tensors[name];
  if (!(numbers instanceof Float32Array)) throw new Error(`${name} is no float32 tensor`);
  return numbers.slice(row * layout.size, (row + 1) * layout.size);
}

/** The words of chance as numbers in [0, 1), one after the other. */
export function chanceOf(...words: readonly Numbers[]): () => number {
  const all = words.flatMap((part) => [...part]);
  let at = 0;
  return () => all[at++] / 2 ** 32;
}
