import { layoutOf, type Layout, type Vector } from "../../tensors/layout.js";
import { MODEL, readBlob, writeBlob } from "../../tensors/blob.js";
import { readSafetensors } from "../../tensors/safetensors.js";
import type { UpdateForm } from "../codec.js";
import { int8 } from "../int8.js";

// A difference leads from a model that is held to the next one: an int8 update of the vector
// `model`, over all tensors of the model's blob, rounded to nearest. Both ends add it to what they
// hold, and what is rounded away is in the next difference. So what is held lies within half a step
// of the model, however many there were (Tang et al. 2019, DoubleSqueeze, arXiv:1905.05957).

/** A model's blob as one vector over all of its tensors. */
export interface Held {
  readonly layout: Layout;
  readonly numbers: Vector;
  readonly metadata: Readonly<Record<string, string>>;
}

/** @throws ModelError `safetensors`, `layout`, `not-finite` where it is no blob of float32. */
export function heldIn(blob: Uint8Array): Held {
  const { tensors, metadata } = readSafetensors(blob);
  const layout = layoutOf([...tensors.values()]);
  return { layout, metadata, numbers: readBlob(blob, layout, [MODEL])[MODEL] };
}

export const blobOfHeld = ({ layout, metadata, numbers }: Held): Uint8Array<ArrayBuffer> =>
  writeBlob(layout, { [MODEL]: numbers }, metadata);

const VECTOR = "model";

/** What every difference between models of that layout looks like. */
export const differenceForm = (layout: Layout, numbers = int8.defaults): UpdateForm =>
  int8.form(layout, [VECTOR], numbers);

/** The difference to the next model; nothing where it is no float32. */
export function differenceTo(
  { layout, numbers }: Held,
  next: Vector,
  form = differenceForm(layout),
): Uint8Array<ArrayBuffer> | undefined {
  const apart = next.map((w, i) => w - numbers[i]);
  return apart.every(Number.isFinite) ? form.encode({ [VECTOR]: apart }) : undefined;
}

/** What is held then. @throws ModelError `layout` where it is no difference of that layout. */
export function follow(
  held: Held,
  difference: Uint8Array,
  form = differenceForm(held.layout),
): Held {
  const { [VECTOR]: apart } = form.decode(difference);
  return { ...held, numbers: held.numbers.map((x, i) => x + apart[i]) };
}
