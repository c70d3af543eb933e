import { ModelError } from "../errors.js";
import { shapeText } from "./shape.js";

/** One named tensor of a layout: where its elements lie in the flat vector. */
export interface Parameter {
  readonly name: string;
  readonly shape: readonly number[];
  /** Index of the first element in the flat vector. */
  readonly offset: number;
  /** Number of elements. */
  readonly size: number;
}

/** The named tensors of a model laid end to end in one flat float32 vector, in layer order. */
export interface Layout {
  readonly parameters: readonly Parameter[];
  /** Number of elements of the flat vector. */
  readonly size: number;
}

/** A flat float32 vector over a layout: weights, a delta, a drift. */
export type Vector = Float32Array;

/**
 * Lays named shapes end to end.
 * @throws ModelError `layout` for a repeated name or a dimension that is not a positive integer.
 */
export function layoutOf(
  shapes: readonly {
    readonly name: string;
    readonly shape: readonly number[];
  }[],
): Layout {
  const parameters: Parameter[] = [];
  const names = new Set<string>();
  let offset = 0;
  for (const { name, shape } of shapes) {
    if (names.has(name))
      throw new ModelError("layout", `"${name}" expected to be named once, got it twice`);
    names.add(name);
    let size = 1;
    for (const dimension of shape) {
      if (!Number.isSafeInteger(dimension) || dimension < 1)
        throw new ModelError(
          "layout",
          `"${name}.shape" expected positive integers, got ${shapeText(shape)}`,
        );
      size *= dimension;
    }
    parameters.push({ name, shape: [...shape], offset, size });
    offset += size;
  }
  return { parameters, size: offset };
}

/** The part of `vector` that holds one parameter (a view, no copy). */
export function parameterView<V extends Vector | Float64Array>(
  vector: V,
  { offset, size }: Parameter,
): V {
  return vector.subarray(offset, offset + size) as V;
}
