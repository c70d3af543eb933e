import { networkOf } from "../models/network.js";
import { putShare } from "../models/shares.js";
import { readBlob } from "../tensors/blob.js";
import { readSafetensors } from "../tensors/safetensors.js";
import type { CommittedModel } from "./options.js";

/**
 * The name under which a client's personal layers lie beside the algorithm's state: they become its
 * own when that does, with the update that they were trained with.
 */
export const PERSONAL = "personal";

/**
 * The model with this client's personal layers, and running values of its own, in place of those
 * that clients begin with.
 * @param state the client's committed state, if it has one
 */
export function withPersonal(model: CommittedModel, state: Uint8Array | undefined): CommittedModel {
  if (state === undefined) return model;
  const { personal, statistics } = networkOf(model.description).shares;
  const { tensors } = readSafetensors(state);
  const kept = [personal, statistics].filter(({ places: [first] }) =>
    first === undefined ? false : tensors.has(`${PERSONAL}/${first.name}`),
  );
  if (kept.length === 0) return model;
  const weights = model.weights.slice();
  for (const share of kept)
    putShare(share, readBlob(state, share.layout, [PERSONAL])[PERSONAL], weights);
  return { ...model, weights };
}
