import { ConfigError } from "../errors.js";
import { expectedBy } from "../models/model.js";
import { networkOf } from "../models/network.js";
import { putShare, takeShare } from "../models/shares.js";
import { combine } from "../algorithms/vectors.js";
import type { Vector } from "../tensors/layout.js";
import { weightedOf } from "../training/job.js";
import { requireFinite } from "./assignment.js";
import type { Device, Participation } from "./context.js";
import { ownExamples } from "./examples.js";
import type { Personalised, PersonaliseOptions } from "./options.js";
import { keepTuned } from "./personal.js";

/**
 * Fine-tunes the newest global model on the device's own examples, and keeps what comes of it.
 * @throws as `FederatedClient.personalise`
 */
export async function personalise(
  { options, platform, workers, predictor }: Device,
  part: Participation | undefined,
  { epochs = 5, learningRate = 0.01 }: PersonaliseOptions,
): Promise<Personalised> {
  if (!(epochs >= 0))
    throw new ConfigError("personalise", `"epochs" expected 0 or more, got ${epochs}`);
  const store = part?.store ?? (await platform.openState(options.state));
  try {
    const examples = part?.examples ?? (await ownExamples(options, await platform.identity(store)));
    return await predictor.tune(async (model) => {
      const request = { assignment: "", round: model.round ?? 0, task: "personalise" };
      const { train, test } = await examples.split({ ...request, ...expectedBy(model) });
      return workers.tune(async (trainer) => {
        const trained = await trainer.train({
          ...weightedOf(model),
          objective: {},
          part: train,
          settings: {
            algorithm: "",
            algorithmSettings: {},
            localEpochs: epochs,
            batchSize: 32,
            learningRate,
            initialLearningRate: learningRate,
            weightDecay: 0,
            clipNorm: 10,
            zeta: 0,
            manIncludesLogits: false,
            shuffle: true,
            meanSamples: 0,
            seed: model.sha256,
          },
        });
        const { shared, personal } = networkOf(model.description).shares;
        const weights = model.weights.slice();
        putShare(shared, combine([1, takeShare(shared, weights)], [1, trained.delta]), weights);
        if (trained.personal) putShare(personal, trained.personal, weights);
        requireFinite({ weights });
        const evaluated = async (weights: Vector) =>
          test.rows.length > 0
            ? trainer.evaluate({ ...weightedOf({ ...model, weights }), part: test })
            : undefined;
        const result = {
          global: await evaluated(model.weights),
          personal: await evaluated(weights),
        };
        await keepTuned(store, { ...model, weights });
        return { weights, result };
      });
    });
  } finally {
    if (part === undefined) await store.close();
  }
}
