import { loadModel, modelMetadata } from "../models/model.js";
import { networkOf } from "../models/network.js";
import { putShare } from "../models/shares.js";
import type { StateStore } from "../platform/platform.js";
import { MODEL, readBlob, readState, writeBlob } from "../tensors/blob.js";
import { readMetadata, readSafetensors } from "../tensors/safetensors.js";
import type { CommittedModel } from "./options.js";

/**
 * The name under which a client's personal layers lie beside the algorithm's state: they become its
 * own when that does, with the update that they were trained with.
 */
export const PERSONAL = "personal";

/** The store's name for the model that `personalise` made: a model file that says from which. */
const TUNED = "personal";

export const keepTuned = (store: StateStore, model: CommittedModel): Promise<void> =>
  store.put(
    TUNED,
    writeBlob(
      model.layout,
      { [MODEL]: model.weights },
      { ...modelMetadata(model), of: model.sha256 },
    ),
  );

/** The model as `personalise` tuned it, where it did that and the store still has it. */
export async function tunedIn(
  store: StateStore | undefined,
  model: CommittedModel,
): Promise<CommittedModel> {
  try {
    const bytes = await store?.get(TUNED);
    if (bytes && readMetadata(bytes)["of"] === model.sha256)
      return { ...model, weights: loadModel(bytes).weights };
  } catch {
    // Damaged: as if it were not there.
  }
  return model;
}

/**
 * The model that this client predicts with: its personal layers, running values of its own and an
 * own model (Ditto) in place of the global ones.
 * @param state gives the client's committed state, if it has one
 * @param trains to train on: what is shared stays as it is
 */
export async function withPersonal(
  model: CommittedModel,
  state: () => Promise<Uint8Array | undefined> | undefined,
  trains = false,
): Promise<CommittedModel> {
  const stored = await state();
  if (stored === undefined) return model;
  const { shared, personal, statistics } = networkOf(model.description).shares;
  const { tensors } = readSafetensors(stored);
  const kept = [personal, statistics, ...(trains ? [] : [shared])].filter(({ places }) =>
    places.some(({ name }) => tensors.has(`${PERSONAL}/${name}`)),
  );
  if (kept.length === 0) return model;
  const weights = model.weights.slice();
  for (const share of kept) {
    const read = share === shared ? readState : readBlob;
    putShare(share, read(stored, share.layout, [PERSONAL])[PERSONAL], weights);
  }
  return { ...model, weights };
}
