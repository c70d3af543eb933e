import * as v from "valibot";
import { ModelError } from "../errors.js";
import { decodeJson } from "../json.js";
import { MODEL, readBlob, writeBlob } from "../tensors/blob.js";
import type { Vector } from "../tensors/layout.js";
import { readSafetensors } from "../tensors/safetensors.js";
import type { ModelDescription } from "./description.js";
import { positiveInteger } from "./layers/fields.js";
import { networkOf, type Network } from "./network.js";
import { putShare, takeShare } from "./shares.js";

// The base of a model is what no round moves: what is frozen, and what personal layers begin with.
// It is a file of its own, named by its hash, so that a device fetches it once; the model of a round
// holds the rest, and names its base in its metadata.

/** The key of a round's metadata under which its base is named. */
export const BASE = "base";

/** The file of a base: its SHA-256 and its length. */
export interface BaseName {
  readonly sha256: string;
  readonly bytes: number;
}

const baseName = v.object({
  sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
  bytes: positiveInteger,
});

/** The base's file; nothing where all of the model is trained and sent. */
export function writeBase({
  description,
  weights,
}: {
  readonly description: ModelDescription;
  readonly weights: Vector;
}): Uint8Array<ArrayBuffer> | undefined {
  const { fixed } = networkOf(description).shares;
  if (fixed.places.length === 0) return undefined;
  return writeBlob(fixed.layout, { [MODEL]: takeShare(fixed, weights) });
}

/** The base that a round's model names. @throws ModelError `model-file` */
export function baseNamed(metadata: Readonly<Record<string, string>>): BaseName | undefined {
  const text = metadata[BASE];
  if (text === undefined) return undefined;
  const name = decodeJson(baseName, text);
  if (name !== undefined) return name;
  throw new ModelError("model-file", `"base" expected a hash and a length, got another text`);
}

/**
 * The weights of a round's model and its base.
 * @throws ModelError `model-file` where the base is missing; as `readBlob`
 */
export function joinBase(
  bytes: Uint8Array,
  { layout, shares }: Network,
  base: Uint8Array | undefined,
): Vector {
  if (base === undefined)
    throw new ModelError("model-file", `"base" expected the file that the model names, got none`);
  const weights = new Float32Array(layout.size);
  for (const [share, file] of [
    [shares.shared, bytes],
    [shares.fixed, base],
  ] as const)
    putShare(share, readBlob(file, share.layout, [MODEL])[MODEL], weights);
  // Running values that are averaged move from round to round.
  const { statistics } = shares;
  if (statistics.places.length > 0 && readSafetensors(bytes).tensors.has(statistics.places[0].name))
    putShare(statistics, readBlob(bytes, statistics.layout, [MODEL])[MODEL], weights);
  return weights;
}
