import { networkOf } from "../models/network.js";
import { putShare } from "../models/shares.js";
import { readBlob } from "../tensors/blob.js";
import type { CommittedModel } from "./options.js";

/**
 * The name under which a client's personal layers lie beside the algorithm's state: they become its
 * own when that does, with the update that they were trained with.
 */
export const PERSONAL = "personal";

/**
 * The model with this client's personal layers in place of those that clients begin with.
 * @param state the client's committed state, if it has one
 */
export function withPersonal(model: CommittedModel, state: Uint8Array | undefined): CommittedModel {
  const { personal } = networkOf(model.description).shares;
  if (state === undefined || personal.places.length === 0) return model;
  const weights = model.weights.slice();
  putShare(personal, readBlob(state, personal.layout, [PERSONAL])[PERSONAL], weights);
  return { ...model, weights };
}
