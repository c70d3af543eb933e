import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

// Numbers of test/vectors/next, or of another folder of the same form.
const folder =
  process.env["FEDFLAT_VECTORS_NEXT"] ??
  fileURLToPath(new URL("../../../test/vectors/next", import.meta.url));

interface ReferenceClient {
  readonly id: string;
  readonly weight: number;
  readonly cSecret: string;
  readonly cPublic: string;
  readonly sSecret: string;
  readonly sPublic: string;
  readonly b: string;
  readonly commitment: string;
  readonly neighbours: readonly string[];
  readonly ownShareX: number;
  readonly selfKey: string;
  readonly maskSha256: string;
  readonly maskedSha256: string;
  readonly sharesB: readonly string[];
  /** Only of the complete graph, where everything is told. */
  readonly coefficientsB?: readonly string[];
  readonly coefficientsS?: readonly string[];
  readonly sharesS?: readonly string[];
  readonly sealed?: readonly string[];
  readonly pairKeys?: readonly string[];
  /** Only of the ring. */
  readonly firstSealed?: string;
}

interface Reference {
  readonly run: string;
  readonly round: number;
  readonly attempt: number;
  readonly context: string;
  readonly salt: string;
  readonly graphSeed: string;
  readonly n: number;
  readonly k: number;
  readonly t: number;
  readonly d: number;
  readonly c: number;
  readonly Q: number;
  readonly wMax: number;
  readonly clients: readonly ReferenceClient[];
  readonly dropped: readonly string[];
  readonly silentInUnmask: readonly string[];
  readonly recovered: Readonly<
    Record<
      string,
      { readonly seed?: string; readonly secretKey?: string; readonly from: readonly number[] }
    >
  >;
  readonly weightSum: number;
}

const ARRAYS = { F32: Float32Array, F64: Float64Array, U32: Uint32Array, I32: Int32Array };
type Numbers = InstanceType<(typeof ARRAYS)[keyof typeof ARRAYS]>;

/** The numbers of one graph: `complete` or `ring`. Tensors are read without our own reader. */
export function referenceOf(tag: "complete" | "ring") {
  const path = (extension: string) => join(folder, `secagg-${tag}.${extension}`);
  const reference = JSON.parse(readFileSync(path("json"), "utf8")) as Reference;
  const file = Uint8Array.from(readFileSync(path("safetensors")));
  const length = Number(new DataView(file.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length))) as Record<
    string,
    { readonly dtype: keyof typeof ARRAYS; readonly data_offsets: readonly [number, number] }
  >;
  const tensor = (name: string): Numbers => {
    const { dtype, data_offsets } = header[name];
    const [from, to] = data_offsets.map((offset) => 8 + length + offset);
    return new ARRAYS[dtype](file.slice(from, to).buffer);
  };
  /** The row of one client in a tensor of n rows. */
  const row = (name: string, index: number): Numbers =>
    tensor(name).slice(index * reference.d, (index + 1) * reference.d);
  const { run, round, attempt } = reference;
  const quantiser = { range: reference.c, steps: reference.Q, maxWeight: reference.wMax };
  return { ...reference, of: { run, round, attempt }, quantiser, tensor, row };
}

/** What the ring needs, for parts of n that are corrupt and that drop out. */
export const plans = JSON.parse(
  readFileSync(join(folder, "secagg-plan.json"), "utf8"),
) as readonly {
  readonly n: number;
  readonly corrupt: number;
  readonly dropout: number;
  /** Of the ring; there is no t where only the complete graph will do. */
  readonly k: number;
  readonly t: number | null;
}[];
