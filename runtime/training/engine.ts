import { ModelError } from "../errors.js";
import { sumsOf, type MetricSums } from "../models/metrics/sums.js";
import { networkOf, type Network } from "../models/network.js";
import { parseDescription } from "../models/description.js";
import { takeShare } from "../models/shares.js";
import type { Vector } from "../tensors/layout.js";
import { random, type Random } from "../tensors/random.js";
import { elements } from "../tensors/shape.js";
import type { Heap, Kernels } from "../wasm/kernels.js";
import { augment, batchesOf, checkPart } from "./batches.js";
import { loaderOf, type LoadRows } from "./loading.js";
import type {
  CurvatureJob,
  EvaluateJob,
  PredictJob,
  Snapshot,
  Trained,
  TrainJob,
  Weighted,
} from "./job.js";
import { LOSS_SAMPLES, movesBatchNorm, type Evaluation, type Progress } from "./local-round.js";
import { featuresFor, type Features } from "./features.js";
import { compile, type Plan } from "./plan.js";
import { memoryNeeded, type Purpose } from "./memory-plan.js";
import { stepperMemory, stepperOf } from "./step.js";

/** What a job tells and asks its surroundings after each batch. */
export interface Hooks {
  /** After a batch of training. */
  progress(progress: Progress): void;
  /** After a batch of training; `take` gives a snapshot, should it be time for one. */
  snapshot?(epochDone: boolean, take: () => Snapshot): void;
  /** Lets messages in and out; rejects if the job is to end. */
  pause(): Promise<void>;
}

/**
 * Does jobs on one heap. It keeps the last plan, so that the next job on the same network finds it
 * compiled.
 */
export interface Engine {
  train(job: TrainJob, hooks: Hooks): Promise<Trained>;
  evaluate(job: EvaluateJob, hooks: Hooks): Promise<Evaluation>;
  hessianProduct(job: CurvatureJob, hooks: Hooks): Promise<Float64Array>;
  predict(job: PredictJob, hooks: Hooks): Promise<Float32Array>;
  /** Gives the plan's memory back. */
  free(): void;
}

/**
 * Examples per batch where only the forward pass runs; always the same, so that sums come out the
 * same on any plan.
 */
const FORWARD_BATCH = 32;

/** Bytes of WebAssembly memory that training takes at most, whatever the algorithm. */
export const trainingMemory = (network: Network, batchSize: number): number =>
  memoryNeeded(network, batchSize) + stepperMemory(network.shares);

export function engineOn(kernels: Kernels, heap: Heap): Engine {
  let kept: { plan: Plan; text: string; purpose: Purpose } | undefined;
  let features: Features | undefined;

  function free(): void {
    kept?.plan.free();
    kept = undefined;
  }

  /** The kept plan if it serves, else a new one in its place; with the job's weights in it. */
  function planFor({ description, weights }: Weighted, purpose: Purpose, batch: number): Plan {
    const text = JSON.stringify(description);
    const serves =
      kept?.text === text &&
      (purpose === "predict" || kept.purpose === purpose) &&
      kept.plan.maxBatch >= batch;
    if (!serves) {
      const network = networkOf(parseDescription(description));
      free();
      const plan = compile(network, batch, kernels, heap, purpose);
      kept = { plan, text, purpose };
    }
    const { plan } = kept!;
    checkLength("weights", weights, plan.network.layout.size);
    plan.setWeights(weights);
    return plan;
  }

  return {
    free() {
      free();
      features = undefined;
    },
    async train(job, hooks) {
      const plan = planFor(job, "train", job.settings.batchSize);
      // What augmentation changes has other features each time.
      if (job.settings.augmentation !== undefined) return train(plan, job, hooks);
      features = featuresFor(plan, job, features);
      return train(plan, job, hooks, features);
    },
    async evaluate(job, hooks) {
      const { part } = job;
      const plan = planFor(job, "predict", FORWARD_BATCH);
      checkPart(part, partNeeds(plan.network));
      const load = loaderOf(plan, part.dataset, job, featuresFor(plan, job, features));
      const { labels } = part.dataset;
      return measure(plan, load, part.rows, FORWARD_BATCH, hooks, sumsOf(plan.network), labels);
    },
    async hessianProduct(job, hooks) {
      return hessianProduct(planFor(job, "curvature", FORWARD_BATCH), heap, job, hooks);
    },
    async predict(job, hooks) {
      return predict(planFor(job, "predict", FORWARD_BATCH), job, hooks);
    },
  };
}

/** Sums over the rows, forward passes only. */
async function measure(
  plan: Plan,
  load: LoadRows,
  rows: Uint32Array,
  size: number,
  hooks: Hooks,
  sums?: MetricSums,
  labels?: Int32Array,
): Promise<Evaluation> {
  const count = rows.length;
  let correct = 0;
  let loss = 0;
  let counted = 0;
  for (const batch of batchesOf(rows, size)) {
    load(batch);
    const measured = plan.evaluate(batch.length);
    correct += measured.correct;
    loss += measured.loss * measured.count;
    counted += measured.count;
    const errors =
      plan.network.loss.task === "input"
        ? plan.errors(batch.length).filter((_, i) => !(labels?.[batch[i]]! > 0))
        : undefined;
    sums?.add(plan.outputs(batch.length), plan.labels(), plan.targets(), errors);
    await hooks.pause();
  }
  // The mean over the labels that count, for each example: labels may be left out.
  if (counted !== count) loss *= count / Math.max(1, counted);
  return {
    count,
    correct: plan.network.loss.task === "classes" ? correct : 0,
    loss,
    ...(sums && { sums: [...sums.values] }),
  };
}

async function train(
  plan: Plan,
  job: TrainJob,
  hooks: Hooks,
  features?: Features,
): Promise<Trained> {
  const { part, settings, objective, from } = job;
  const { seed, localEpochs, headEpochs, batchSize, augmentation } = settings;
  const started = performance.now() - 1000 * (from?.seconds ?? 0);
  const seconds = () => (performance.now() - started) / 1000;
  const { network } = plan;
  const { shared, learning, moving } = network.shares;
  checkPart(part, partNeeds(network));
  const load = loaderOf(plan, part.dataset, job, features);
  const sample = part.rows.subarray(0, LOSS_SAMPLES);
  const meanLoss = async () =>
    (await measure(plan, load, sample, batchSize, hooks)).loss / sample.length;

  const lossBefore = from?.lossBefore ?? (await meanLoss());
  const epochBatches = Math.ceil(part.rows.length / batchSize);
  const batches = ((headEpochs ?? 0) + localEpochs) * epochBatches;
  const norms = new Float64Array(plan.taps.length + Number(settings.manIncludesLogits));
  let batch = 0;
  if (from !== undefined) {
    checkSnapshot(from, batches, norms.length, moving.layout.size);
    plan.setMoving(from.weights);
    norms.set(from.activationNorms);
    batch = from.batch;
  }
  let chance: Random;
  const snapshot = (): Snapshot => ({
    weights: plan.moving(),
    batch,
    chance: chance.state(),
    activationNorms: [...norms],
    lossBefore,
    seconds: seconds(),
  });
  const stepper = stepperOf(plan, objective, settings);
  try {
    while (batch < batches) {
      const epoch = Math.floor(batch / epochBatches);
      const done = batch % epochBatches;
      const moving = headEpochs ? (epoch < headEpochs ? "personal" : "shared") : undefined;
      chance = random(seed, "epoch", epoch);
      const order = settings.shuffle ? chance.shuffle(part.rows.slice()) : part.rows;
      if (from !== undefined && done > 0) chance.restore(from.chance);
      else norms.fill(0);
      const left = order.subarray(done * batchSize);
      for (const rows of batchesOf(left, batchSize)) {
        const target = load(rows);
        if (augmentation !== undefined && network.input.length === 3)
          augment(target, rows.length, network.input, augmentation, chance);
        const measured = stepper.step(rows.length, chance, moving);
        const { loss, activationNorms } = measured;
        if (!Number.isFinite(loss))
          throw new ModelError(
            "diverged",
            `"loss" expected a finite number, got ${loss} in epoch ${epoch + 1}: a smaller learning rate or a clip may help`,
          );
        activationNorms.forEach((norm, i) => (norms[i] += (norm * rows.length) / order.length));
        batch++;
        hooks.progress({ epoch, batch, batches, loss, activationNorms });
        hooks.snapshot?.(batch % epochBatches === 0, snapshot);
        await hooks.pause();
      }
    }
  } finally {
    stepper.free();
  }
  const lossAfter = await meanLoss();
  const moved = plan.moving();
  const before = takeShare(shared, job.weights);
  const { size } = shared.layout;
  const end = learning.layout.size;
  const personal = end > size ? moved.slice(size, end) : undefined;
  const movesStatistics = moved.length > end && movesBatchNorm(settings);
  const statistics = movesStatistics ? moved.slice(end) : undefined;
  const delta = moved.length === size ? moved : moved.slice(0, size);
  for (let i = 0; i < size; i++) delta[i] -= before[i];
  return {
    delta,
    ...(personal && { personal }),
    ...(statistics && { statistics }),
    metrics: {
      samples: part.rows.length,
      lossBefore,
      lossAfter,
      activationNorms: [...norms],
      seconds: seconds(),
    },
  };
}

async function hessianProduct(
  plan: Plan,
  { memory }: Heap,
  job: CurvatureJob,
  hooks: Hooks,
): Promise<Float64Array> {
  const { part, direction } = job;
  const { size } = plan.network.shares.learning.layout;
  checkLength("direction", direction, size);
  checkPart(part, partNeeds(plan.network));
  const load = loaderOf(plan, part.dataset, job);
  const view = (address: number) => new Float32Array(memory.buffer, address, size);
  view(plan.direction).set(direction);
  const sum = new Float64Array(size);
  for (const batch of batchesOf(part.rows, FORWARD_BATCH)) {
    load(batch);
    plan.hessianProduct(batch.length, { zeta: 0, includesLogits: false });
    const mean = view(plan.product);
    for (let i = 0; i < size; i++) sum[i] += batch.length * mean[i];
    await hooks.pause();
  }
  return sum;
}

async function predict(plan: Plan, job: PredictJob, hooks: Hooks): Promise<Float32Array> {
  const { inputs, starts } = job;
  const { input, output } = plan.network;
  const isError = plan.network.loss.task === "input";
  const width = isError ? 1 : elements(output);
  const count = starts?.length ?? inputs.length / elements(input);
  if (!Number.isInteger(count))
    throw new ModelError(
      "shape",
      `"inputs" expected a multiple of ${elements(input)} numbers, got ${inputs.length}`,
    );
  const load = loaderOf(plan, { inputs, starts }, job);
  const logits = new Float32Array(count * width);
  const rows = Uint32Array.from({ length: count }, (_, i) => i);
  for (const batch of batchesOf(rows, FORWARD_BATCH)) {
    load(batch);
    const outputs = plan.forward(batch.length);
    logits.set(isError ? plan.errors(batch.length) : outputs, batch[0] * width);
    await hooks.pause();
  }
  return logits;
}

/** What a network asks of data. */
const partNeeds = ({ input, classes, loss: { target } }: Network) => ({ input, classes, target });

/** @throws ModelError `snapshot` where it cannot be one of this round. */
function checkSnapshot(
  { weights, batch, activationNorms }: Snapshot,
  batches: number,
  norms: number,
  size: number,
): void {
  checkLength("snapshot.weights", weights, size);
  if (!(batch > 0 && batch <= batches) || activationNorms.length !== norms)
    throw new ModelError(
      "snapshot",
      `"snapshot" expected batch 1 to ${batches} and ${norms} norms, got ${batch} and ${activationNorms.length}`,
    );
}

function checkLength(name: string, vector: Vector, size: number): void {
  if (vector.length !== size)
    throw new ModelError("layout", `"${name}" expected ${size} numbers, got ${vector.length}`);
}
