import { ModelError } from "../errors.js";
import { parameterView, type Layout, type Vector } from "./layout.js";
import { readSafetensors, writeSafetensors, type Tensor } from "./safetensors.js";
import { placeOf, shapeText } from "./shape.js";

/**
 * A blob is a safetensors file that holds whole vectors over one layout, one after the other. The
 * vector named "" is the model and its tensors bear the parameters' own names; a tensor of any
 * other vector is named `vector/parameter` (`delta/0.kernel`, `control/4.bias`). Global models and
 * updates travel as blobs, float32; what a client keeps of an algorithm from round to round is one
 * of float64.
 */
export type Vectors = Readonly<Record<string, Vector>>;

/** The name under which the model's own weights stand among the vectors of a blob. */
export const MODEL = "";

const nameOf = (vector: string, parameter: string) =>
  vector === MODEL ? parameter : `${vector}/${parameter}`;

/**
 * Writes vectors, in the order given.
 * @param into as in `writeSafetensors`
 * @throws ModelError `layout` where a vector has another length than the layout.
 */
export function writeBlob(
  layout: Layout,
  vectors: Readonly<Record<string, Vector | Float64Array>>,
  metadata: Readonly<Record<string, string>> = {},
  into?: Uint8Array<ArrayBuffer>,
): Uint8Array<ArrayBuffer> {
  return writeSafetensors(blobTensors(layout, vectors), metadata, into);
}

/** The tensors of vectors, in the order given. @throws as `writeBlob` */
export function blobTensors(
  layout: Layout,
  vectors: Readonly<Record<string, Vector | Float64Array>>,
): Tensor[] {
  const tensors: Tensor[] = [];
  for (const [vector, data] of Object.entries(vectors)) {
    if (data.length !== layout.size)
      throw new ModelError(
        "layout",
        `"${vector || "model"}" expected ${layout.size} numbers, got ${data.length}`,
      );
    for (const parameter of layout.parameters)
      tensors.push({
        name: nameOf(vector, parameter.name),
        shape: parameter.shape,
        data: parameterView(data, parameter),
      });
  }
  return tensors;
}

/**
 * Reads the named vectors of a blob: as views of `bytes` where a vector lies there whole and aligned, as in every blob that
 * `writeBlob` wrote, else as copies.
 * @throws ModelError `safetensors` where it is no such file, `layout` where a tensor is missing, has
 * another shape or is not float32, `not-finite` where a number is NaN or infinite.
 */
export function readBlob(
  bytes: Uint8Array,
  layout: Layout,
  vectors: readonly string[],
): Record<string, Vector> {
  const { tensors } = readSafetensors(bytes);
  return Object.fromEntries(
    vectors.map((vector) => [vector, vectorOf(tensors, layout, vector, Float32Array)]),
  );
}

/**
 * Reads the named float64 vectors of a blob, likewise.
 * @throws ModelError as `readBlob`
 */
export function readState(
  bytes: Uint8Array,
  layout: Layout,
  vectors: readonly string[],
): Record<string, Float64Array> {
  const { tensors } = readSafetensors(bytes);
  return Object.fromEntries(
    vectors.map((vector) => [vector, vectorOf(tensors, layout, vector, Float64Array)]),
  );
}

/**
 * The tensors of one vector end to end: one view of the memory they share if they lie there so,
 * else a copy.
 */
function vectorOf<K extends Float32ArrayConstructor | Float64ArrayConstructor>(
  tensors: ReadonlyMap<string, Tensor>,
  { parameters, size }: Layout,
  vector: string,
  Kind: K,
): InstanceType<K> {
  const isOfKind = (data: Tensor["data"]): data is InstanceType<K> => data instanceof Kind;
  const parts = parameters.map((parameter) => {
    const name = nameOf(vector, parameter.name);
    const tensor = tensors.get(name);
    const expected = `${Kind === Float32Array ? "float32" : "float64"} ${shapeText(parameter.shape)}`;
    if (tensor === undefined)
      throw new ModelError("layout", `"${name}" expected ${expected}, got nothing of that name`);
    const { data, shape } = tensor;
    if (!isOfKind(data) || shape.join() !== parameter.shape.join())
      throw new ModelError(
        "layout",
        `"${name}" expected ${expected}, got ${data.constructor.name} ${shapeText(shape)}`,
      );
    requireFinite(name, shape, data);
    return data;
  });
  const [first] = parts;
  const whole = parts.every(
    ({ buffer, byteOffset }, i) =>
      buffer === first.buffer &&
      byteOffset === first.byteOffset + Kind.BYTES_PER_ELEMENT * parameters[i].offset,
  );
  if (whole && first !== undefined)
    return new Kind(first.buffer, first.byteOffset, size) as InstanceType<K>;
  const data = new Kind(size) as InstanceType<K>;
  parts.forEach((part, i) => data.set(part, parameters[i].offset));
  return data;
}

/** The first number of a vector that is NaN or infinite: where it stands, and what it is. */
export function firstNotFinite(
  { parameters }: Layout,
  vector: Vector | Float64Array,
):
  | { readonly parameter: string; readonly place: readonly number[]; readonly value: number }
  | undefined {
  for (const parameter of parameters) {
    const data = parameterView(vector, parameter);
    const i = notFinite(data);
    if (i >= 0)
      return { parameter: parameter.name, place: placeOf(i, parameter.shape), value: data[i] };
  }
  return undefined;
}

function requireFinite(
  name: string,
  shape: readonly number[],
  data: Float32Array | Float64Array,
): void {
  const i = notFinite(data);
  if (i >= 0)
    throw new ModelError(
      "not-finite",
      `"${name}" expected finite numbers, got ${data[i]} at ${shapeText(placeOf(i, shape))}`,
    );
}

function notFinite(data: Float32Array | Float64Array): number {
  for (let i = 0; i < data.length; i++) if (!Number.isFinite(data[i])) return i;
  return -1;
}
