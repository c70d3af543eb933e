import { ModelError } from "../errors.js";
import { merged } from "../models/merged.js";
import type { Model } from "../models/model.js";
import type { Vector } from "../tensors/layout.js";
import type { BlobName } from "../protocol/fields.js";
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
  /**
   * Predicts with the weights that come of the newest model, until there is a newer one.
   * @throws ModelError `no-model`
   */
  tune<T>(
    work: (model: CommittedModel) => Promise<{ readonly weights: Vector; readonly result: T }>,
  ): Promise<T>;
}

/**
 * @param personalised the model as it is here: with this client's personal layers
 * @param tuned the same as it was tuned before
 */
export function predictorOf(
  models: ModelCache,
  workers: Workers,
  events: Emitter,
  personalised: (model: CommittedModel) => Promise<CommittedModel> = async (model) => model,
  tuned = personalised,
): Predictor {
  let newest: { readonly round?: number; readonly blob: BlobName } | undefined;
  let committed: CommittedModel | undefined;
  /** That one before it was tuned. */
  let untuned: CommittedModel;
  /** The same without adapters, made when it is first asked. */
  let whole: { readonly of: CommittedModel; readonly model: Model } | undefined;

  async function fetchNewest(): Promise<void> {
    while (newest !== undefined && newest.blob.sha256 !== committed?.sha256) {
      const { blob, round } = newest;
      const from = { ...(await personalised((await models.load(blob)).model)), round };
      const model = await tuned(from);
      // Meanwhile a newer one was announced, or another call brought this one.
      if (newest.blob.sha256 !== blob.sha256 || committed?.sha256 === blob.sha256) continue;
      untuned = from;
      committed = model;
      events.emit("model", committed);
    }
  }

  async function newestHere(): Promise<CommittedModel> {
    await fetchNewest();
    if (committed === undefined) throw new ModelError("no-model", "no model is committed yet");
    return committed;
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
      const of = await newestHere();
      const inputs = flat(x);
      if (whole?.of !== of) whole = { of, model: merged(of) };
      const { model } = whole;
      const outputs = await workers.predict({ ...weightedOf(model), inputs });
      return predictionsOf(model, outputs);
    },
    async tune(work) {
      await newestHere();
      const from = untuned;
      const { weights, result } = await work(from);
      if (untuned === from) committed = { ...from, weights };
      return result;
    },
  };
}
