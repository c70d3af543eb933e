import { ModelError } from "../errors.js";
import { merged } from "../models/merged.js";
import type { Model } from "../models/model.js";
import type { BlobName } from "../protocol/messages.js";
import type { Emitter } from "./events.js";
import { flat } from "./examples.js";
import type { ModelCache } from "./model-cache.js";
import type { CommittedModel, Inputs, Prediction } from "./options.js";
import { weightedOf } from "../training/job.js";
import { predictionsOf } from "./prediction.js";
import type { Workers } from "./workers.js";

/** Knows the newest committed model, and predicts with it. */
export interface Predictor {
  /** The newest one that is here. */
  readonly committed: CommittedModel | undefined;
  /** A model was committed; it is fetched only where somebody listens for it. */
  announced(round: number, blob: BlobName): Promise<void>;
  /** Fetches the last model of a run. */
  last(blob: BlobName): Promise<void>;
  /** @throws as `FederatedClient.predict` */
  predict(x: Inputs): Promise<Prediction[]>;
}

/** @param personalised the model as it is here: with this client's personal layers */
export function predictorOf(
  models: ModelCache,
  workers: Workers,
  events: Emitter,
  personalised: (model: CommittedModel) => Promise<CommittedModel> = async (model) => model,
): Predictor {
  let newest: { readonly round?: number; readonly blob: BlobName } | undefined;
  let committed: CommittedModel | undefined;
  /** The same without adapters, made when it is first asked. */
  let whole: { readonly of: CommittedModel; readonly model: Model } | undefined;

  async function fetchNewest(): Promise<void> {
    while (newest !== undefined && newest.blob.sha256 !== committed?.sha256) {
      const { blob, round } = newest;
      const model = await personalised((await models.load(blob)).model);
      // Meanwhile a newer one was announced, or another call brought this one.
      if (newest.blob.sha256 !== blob.sha256 || committed?.sha256 === blob.sha256) continue;
      committed = { ...model, round };
      events.emit("model", committed);
    }
  }

  return {
    get committed() {
      return committed;
    },
    async announced(round, blob) {
      newest = { round, blob };
      if (events.hears("model")) await fetchNewest();
    },
    async last(blob) {
      if (newest?.blob.sha256 !== blob.sha256) newest = { blob };
      await fetchNewest();
    },
    async predict(x) {
      await fetchNewest();
      if (committed === undefined)
        throw new ModelError("no-model", "predict: no model has been committed yet");
      const inputs = flat(x);
      if (whole?.of !== committed) whole = { of: committed, model: merged(committed) };
      const { model } = whole;
      const outputs = await workers.predict({ ...weightedOf(model), inputs });
      return predictionsOf(model, outputs);
    },
  };
}
