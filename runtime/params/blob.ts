import { ModelError } from "../errors.js";
import { parameterView, type Layout, type Vector } from "./layout.js";
import {
  readSafetensors,
  safetensorsHeader,
  writeSafetensors,
  type Tensor,
} from "./safetensors.js";

/**
 * A blob is a safetensors file that holds whole vectors over one layout, one after the other. The vector named "" is the
 * model and its tensors bear the parameters' own names; a tensor of any other vector is named `vector/parameter`
 * (`delta/0.kernel`, `control/4.bias`). Global models and updates travel as blobs.
 */
export type Vectors = Readonly<Record<string, Vector>>;

/** The name under which the model's own weights stand among the vectors of a blob. */
export const MODEL = "";

const nameOf = (vector: string, parameter: string) =>
  vector === MODEL ? parameter : `${vector}/${parameter}`;

/** Writes vectors, in the order given. @throws ModelError `layout` where a vector has another length than the layout. */
export function writeBlob(
  layout: Layout,
  vectors: Vectors,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array<ArrayBuffer> {
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
  return writeSafetensors(tensors, metadata);
}

/** The exact first bytes, and the exact length, of a blob with these vectors: what a receiver may insist on. */
export function blobForm(
  layout: Layout,
  vectors: readonly string[],
  metadata: Readonly<Record<string, string>> = {},
): { header: Uint8Array; bytes: number } {
  const header = safetensorsHeader(
    vectors.flatMap((vector) =>
      layout.parameters.map(({ name, shape }) => ({
        name: nameOf(vector, name),
        kind: "F32" as const,
        shape,
      })),
    ),
    metadata,
  );
  return { header, bytes: header.length + vectors.length * layout.size * 4 };
}

/**
 * Reads the named vectors of a blob: as views of `bytes` where a vector lies there whole and aligned, as in every blob that
 * `writeBlob` wrote, else as copies.
 * @throws ModelError `safetensors` where it is no such file, `layout` where a tensor is missing, has another shape or is not float32.
 */
export function readBlob(
  bytes: Uint8Array,
  layout: Layout,
  vectors: readonly string[],
): Record<string, Vector> {
  const { tensors } = readSafetensors(bytes);
  const result: Record<string, Vector> = {};
  for (const vector of vectors) {
    const parts = layout.parameters.map((parameter) => {
      const name = nameOf(vector, parameter.name);
      const tensor = tensors.get(name);
      const expected = `float32 [${parameter.shape.join(", ")}]`;
      if (tensor === undefined)
        throw new ModelError(
          "layout",
          `"${name}" expected ${expected}, got nothing of that name`,
        );
      if (
        !(tensor.data instanceof Float32Array) ||
        tensor.shape.join() !== parameter.shape.join()
      )
        throw new ModelError(
          "layout",
          `"${name}" expected ${expected}, got ${tensor.data.constructor.name} [${tensor.shape.join(", ")}]`,
        );
      return tensor.data;
    });
    result[vector] = joined(parts, layout);
  }
  return result;
}

/** The parts end to end: one view of the memory they share if they lie there so, else a copy. */
function joined(parts: readonly Float32Array[], layout: Layout): Vector {
  const [first] = parts;
  const whole = parts.every(
    ({ buffer, byteOffset }, i) =>
      buffer === first.buffer &&
      byteOffset === first.byteOffset + 4 * layout.parameters[i].offset,
  );
  if (whole && first !== undefined)
    return new Float32Array(first.buffer, first.byteOffset, layout.size);
  const data = new Float32Array(layout.size);
  parts.forEach((part, i) => data.set(part, layout.parameters[i].offset));
  return data;
}
