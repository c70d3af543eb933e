import {
  blobOfHeld,
  follow,
  heldIn,
  differenceTo,
  type Held,
} from "../../runtime/codecs/parts/model-difference.js";
import { readSafetensors } from "../../runtime/tensors/safetensors.js";
import type { ModelForms } from "../storage/model-cache.js";
import { blobOf } from "./blob-of.js";

/**
 * What clients hold where models are sent as differences: it follows the model, which itself is
 * never rounded. All clients of a round train from it, also one that was sent it whole.
 */
export interface Shadow {
  /** From a stored state, where it is there. */
  load(state: Uint8Array): void;
  /** Follows to the next model; what is to be stored of it. */
  next(model: Uint8Array): Readonly<Record<string, Float32Array>>;
  /** The shadow of the model, whole and as a difference from the one before. */
  forms(model: Uint8Array): ModelForms;
}

/** The name of its numbers in the stored state. */
const SHADOW = "broadcast/shadow";

export function openShadow(): Shadow {
  let numbers: Float32Array | undefined;
  let difference: Uint8Array | undefined;
  /** What `forms` gave last: differences lead from there. */
  let last: { readonly sha256: string; readonly metadata: string } | undefined;

  /** What is held beside that model: the model itself where a run begins. */
  const heldBeside = (model: Held): Held => ({
    ...model,
    numbers: numbers?.length === model.layout.size ? numbers : model.numbers,
  });

  return {
    load(state) {
      const data = readSafetensors(state).tensors.get(SHADOW)?.data;
      // Of its own: the state's bytes are the caller's.
      numbers = data instanceof Float32Array ? data.slice() : undefined;
      difference = undefined;
      last = undefined;
    },
    next(model) {
      const wanted = heldIn(model);
      const held = heldBeside(wanted);
      difference = differenceTo(held, wanted.numbers);
      numbers =
        difference === undefined ? wanted.numbers.slice() : follow(held, difference).numbers;
      return { [SHADOW]: numbers };
    },
    forms(model) {
      const held = heldBeside(heldIn(model));
      const shadow = blobOf(blobOfHeld(held));
      const metadata = JSON.stringify(held.metadata);
      // Who adds a difference keeps the header.
      const from = last?.metadata === metadata && last.sha256 !== shadow.sha256 ? last : undefined;
      const blob = from && difference && blobOf(difference);
      difference = undefined;
      last = { sha256: shadow.sha256, metadata };
      if (numbers !== held.numbers) numbers = held.numbers.slice();
      return {
        shadow,
        ...(blob && { difference: { base: from.sha256, result: shadow.sha256, blob } }),
      };
    },
  };
}
