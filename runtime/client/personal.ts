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
 * @param state gives the client's committed state, if it has one; asked only where it may matter
 */
export async function withPersonal(
  model: CommittedModel,
  state: () => Promise<Uint8Array | undefined> | undefined,
): Promise<CommittedModel> {
  const { personal, statistics } = networkOf(model.description).shares;
  const own = [personal, statistics].filter(({ places }) => places.length > 0);
  const stored = own.length > 0 ? await state() : undefined;
  if (stored === undefined) return model;
  const { tensors } = readSafetensors(stored);
  const kept = own.filter(({ places }) => tensors.has(`${PERSONAL}/${places[0].name}`));
  if (kept.length === 0) return model;
  const weights = model.weights.slice();
  for (const share of kept)
    putShare(share, readBlob(stored, share.layout, [PERSONAL])[PERSONAL], weights);
  return { ...model, weights };
}
