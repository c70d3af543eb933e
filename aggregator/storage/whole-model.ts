import { BASE } from "../../runtime/models/base.js";
import { readCard } from "../../runtime/models/model.js";
import { networkOf } from "../../runtime/models/network.js";
import { readSafetensors, writeSafetensors } from "../../runtime/tensors/safetensors.js";
import type { Blob } from "./ledger.js";

/** A round's model and its base as one file, with whatever stands beside the model's tensors. */
export function wholeFile(bytes: Uint8Array, base: Uint8Array): Uint8Array<ArrayBuffer> {
  const { tensors, metadata } = readSafetensors(bytes);
  const { [BASE]: _, ...rest } = metadata;
  const { layout } = networkOf(readCard(bytes).description);
  const fixed = readSafetensors(base).tensors;
  const own = layout.parameters.map(({ name }) => tensors.get(name) ?? fixed.get(name)!);
  const beside = [...tensors.values()].filter((tensor) => !own.includes(tensor));
  return writeSafetensors([...own, ...beside], rest);
}

/** A round's model with its base, if it has one: a file that stands alone, under the round's name. */
export const wholeOf = (model: Blob, base: Blob | undefined): Blob =>
  base === undefined ? model : { ...model, bytes: wholeFile(model.bytes, base.bytes) };
