import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Worker } from "node:worker_threads";
import type { Part } from "../../runtime/data/dataset.js";
import { DataError, FedflatError } from "../../runtime/errors.js";
import { initialWeights } from "../../runtime/models/initial.js";
import { networkOf } from "../../runtime/models/network.js";
import { random } from "../../runtime/tensors/random.js";
import { nodePlatform } from "../../runtime/platform/node.js";
import type { WorkerPort } from "../../runtime/platform/platform.js";
import type { Trainer, TrainJob } from "../../runtime/training/job.js";
import type { Progress } from "../../runtime/training/local-round.js";
import { trainerOf } from "../../runtime/training/trainer.js";
import { engineBuild } from "../../runtime/wasm/engine-build.js";
import { parseDescription } from "../../runtime/models/description.js";
import { trainerHere } from "./engines.js";

const description = parseDescription({
  input: [10, 10, 2],
  layers: [
    { type: "conv2d", filters: 4, kernelSize: 3 },
    { type: "groupNorm", groups: 2 },
    { type: "relu" },
    { type: "maxPool", size: 2 },
    { type: "flatten" },
    { type: "dropout", rate: 0.2 },
    { type: "dense", units: 8, activation: "relu" },
    { type: "dense", units: 3 },
  ],
});
const network = networkOf(description);
const weights = initialWeights(network, "seed");
const part = noisePart(40);

function noisePart(count: number): Part {
  const chance = random("noise", count);
  return {
    dataset: {
      shape: network.input,
      inputs: Uint8Array.from({ length: count * 200 }, () => chance.integer(256)),
      labels: Int32Array.from({ length: count }, () => chance.integer(3)),
      classes: ["a", "b", "c"],
    },
    rows: Uint32Array.from({ length: count }, (_, i) => i),
  };
}

const job = (changes: Partial<TrainJob["settings"]> = {}): TrainJob => ({
  description,
  weights,
  normalisation: { scale: 255, mean: [0.5], deviation: [0.3] },
  objective: {},
  part,
  settings: {
    algorithm: "fedavg",
    algorithmSettings: {},
    localEpochs: 2,
    batchSize: 7,
    learningRate: 0.1,
    initialLearningRate: 0.1,
    weightDecay: 1e-3,
    clipNorm: 10,
    zeta: 0.15,
    manIncludesLogits: false,
    shuffle: true,
    augmentation: { flip: true, crop: 2 },
    meanSamples: 40,
    seed: "a",
    ...changes,
  },
});
const LONG = { localEpochs: 100_000 };

const platform = nodePlatform({ relaxedSimd: true });
const trainers: Trainer[] = [];
after(() => trainers.forEach((trainer) => trainer.close()));

/** A trainer on real workers, and the workers that it started. */
function open(workers = 1): { trainer: Trainer; ports: WorkerPort[] } {
  const ports: WorkerPort[] = [];
  const trainer = trainerOf(() => {
    const port = platform.startWorker();
    ports.push(port);
    return port;
  }, workers);
  trainers.push(trainer);
  return { trainer, ports };
}

/** Resolves with the first progress of a job that trains much longer than any test. */
function startLong(trainer: Trainer, signal?: AbortSignal) {
  let onProgress!: (progress: Progress) => void;
  const begun = new Promise<Progress>((resolve) => (onProgress = resolve));
  const ended = trainer.train(job(LONG), { onProgress, signal });
  ended.catch(() => {});
  return { begun, ended };
}

const bits = ({ delta }: { delta: Float32Array }) =>
  Buffer.from(delta.buffer, delta.byteOffset, delta.byteLength).toString("hex");

test("a worker gives the same bits as this thread, the same seed gives the same bits, another seed others", async () => {
  const { trainer } = open();
  const build = engineBuild();
  const here = await trainerHere(build);
  const [first, again, other] = [
    await trainer.train(job()),
    await trainer.train(job()),
    await trainer.train(job({ seed: "b" })),
  ];
  assert.equal(bits(first), bits(await here.train(job())));
  assert.equal(bits(again), bits(first));
  assert.notEqual(bits(other), bits(first));
  const { metrics } = first;
  assert.equal(metrics.samples, 40);
  assert.equal(metrics.activationNorms.length, 2);
  assert.ok(metrics.lossAfter < metrics.lossBefore);
  assert.deepEqual(again.metrics.activationNorms, metrics.activationNorms);

  const trained = weights.map((weight, i) => weight + first.delta[i]);
  const evaluation = { description, weights: trained, part };
  const measured = await trainer.evaluate(evaluation);
  assert.deepEqual(measured, await here.evaluate(evaluation));
  assert.equal(measured.count, 40);
  const logits = await trainer.predict({
    description,
    weights: trained,
    inputs: part.dataset.inputs,
  });
  assert.equal(logits.length, 40 * 3);
  const correct = part.dataset.labels.filter((label, i) => {
    const row = logits.slice(3 * i, 3 * i + 3);
    return row.indexOf(Math.max(...row)) === label;
  }).length;
  assert.equal(correct, measured.correct);
});

test("the loss before and after a round is that of the first hundred samples", async () => {
  const { trainer } = open();
  const rows = Uint32Array.from({ length: 120 }, (_, i) => i % part.rows.length);
  const { metrics, delta } = await trainer.train({ ...job(), part: { ...part, rows } });
  const mean = async (weights: Float32Array) => {
    const first = { ...part, rows: rows.subarray(0, 100) };
    return (await trainer.evaluate({ ...job(), weights, part: first })).loss / 100;
  };
  const close = (actual: number, expected: number) =>
    assert.ok(Math.abs(actual / expected - 1) < 1e-4, `expected ${expected}, got ${actual}`);
  close(metrics.lossBefore, await mean(weights));
  // The sum of weights and delta is rounded once more than the weights that were measured.
  close(metrics.lossAfter, await mean(weights.map((weight, i) => weight + delta[i])));
});

test("Hessian-vector products of disjoint parts add up to that of their union", async () => {
  const { trainer } = open(2);
  const direction = weights.map((_, i) => Math.sin(i));
  const over = (from: number, to: number) =>
    trainer.hessianProduct({
      description,
      weights,
      part: { ...part, rows: part.rows.subarray(from, to) },
      direction,
    });
  const [whole, left, right] = await Promise.all([over(0, 40), over(0, 13), over(13, 40)]);
  const largest = whole.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  assert.ok(largest > 1);
  whole.forEach((value, i) => assert.ok(Math.abs(left[i] + right[i] - value) < 1e-5 * largest));
});

test("results do not depend on how many workers there are", async () => {
  const jobs = ["a", "b", "c", "d", "e"].map((seed) => job({ seed }));
  const [one, three] = await Promise.all(
    [1, 3].map((workers) => {
      const { trainer } = open(workers);
      return Promise.all(jobs.map((each) => trainer.train(each)));
    }),
  );
  assert.deepEqual(three.map(bits), one.map(bits));
});

test("training changes nothing that was given", async () => {
  const { trainer } = open();
  const before = [weights.slice(), part.dataset.inputs.slice(), part.rows.slice()];
  await trainer.train(job());
  assert.deepEqual([weights, part.dataset.inputs, part.rows], before);
});

test("a cancelled job ends as cancelled, at work or in the queue, and its worker goes on with the next", async () => {
  const { trainer, ports } = open();
  const [working, queued] = [new AbortController(), new AbortController()];
  const { begun, ended } = startLong(trainer, working.signal);
  const waiting = trainer.train(job(), { signal: queued.signal });
  assert.equal((await begun).batches, 100_000 * 6);
  queued.abort();
  await assert.rejects(waiting, { code: "cancelled" });
  working.abort();
  await assert.rejects(ended, { code: "cancelled" });
  await assert.rejects(trainer.train(job(), { signal: working.signal }), {
    code: "cancelled",
  });
  assert.ok(await trainer.train(job()));
  assert.equal(ports.length, 1);
});

test("a worker killed in the middle of a round fails its job only; the next job gets a fresh worker", async () => {
  const { trainer, ports } = open();
  const { begun, ended } = startLong(trainer);
  const next = trainer.train(job());
  await begun;
  ports[0].terminate();
  await assert.rejects(ended, (error) => error instanceof FedflatError && error.code === "failed");
  assert.ok(await next);
  assert.equal(ports.length, 2);
});

test("a job that no memory can hold fails by name, and the next one is done", async () => {
  const { trainer, ports } = open();
  await assert.rejects(trainer.train(job({ batchSize: 2 ** 24 })), {
    code: "failed",
    message: /room for \d+ bytes/,
  });
  assert.ok(await trainer.train(job()));
  assert.equal(ports.length, 2);
});

test("a mistake in a job is told as what it is and leaves the worker alone", async () => {
  const { trainer, ports } = open();
  const labels = part.dataset.labels.slice();
  labels[7] = 3;
  await assert.rejects(
    trainer.train({
      ...job(),
      part: { ...part, dataset: { ...part.dataset, labels } },
    }),
    (error) =>
      error instanceof DataError &&
      assert.equal(error.message, '"label" expected 0 to 2, got 3 (example 7)') === undefined,
  );
  await assert.rejects(trainer.train({ ...job(), weights: weights.subarray(1) }), {
    name: "ModelError",
    code: "layout",
  });
  await assert.rejects(trainer.train(job({ learningRate: 1e30, clipNorm: 0 })), {
    name: "ModelError",
    code: "diverged",
  });
  assert.ok(await trainer.train(job()));
  assert.equal(ports.length, 1);
});

/** A worker of another script, with this project's port. */
function scriptWorker(script: URL): WorkerPort {
  const worker = new Worker(script);
  const port: WorkerPort = {
    post: (message) => worker.postMessage(message),
    terminate: () => void worker.terminate(),
  };
  let reason = "";
  worker.on("message", (message) => port.onMessage?.(message));
  worker.on("error", (error) => (reason = error.message));
  worker.on("exit", (code) => port.onExit?.(reason || `exit code ${code}`));
  return port;
}

for (const [script, message] of [
  ["trapping-worker.js", /memory access out of bounds/],
  ["throwing-worker.js", /thrown on purpose/],
] as const)
  test(`${script}: the job fails, the host lives, and a fresh worker does the next`, async () => {
    let started = 0;
    const trainer = trainerOf(() =>
      started++ === 0 ? scriptWorker(new URL(script, import.meta.url)) : platform.startWorker(),
    );
    trainers.push(trainer);
    await assert.rejects(trainer.train(job()), { code: "failed", message });
    assert.ok(await trainer.train(job()));
    assert.equal(started, 2);
  });

test("a worker that dies before it is ready costs no job: the next one does it", async () => {
  let started = 0;
  const trainer = trainerOf(() =>
    started++ < 2
      ? scriptWorker(new URL("stillborn-worker.js", import.meta.url))
      : platform.startWorker(),
  );
  trainers.push(trainer);
  assert.ok(await trainer.train(job()));
  assert.equal(started, 3);
});

for (const [name, startWorker, message] of [
  [
    "its engine never starts",
    () => scriptWorker(new URL("stillborn-worker.js", import.meta.url)),
    /its engine never starts/,
  ],
  [
    "its script is not there",
    () => scriptWorker(new URL("no-such-worker.js", import.meta.url)),
    /no-such-worker\.js/,
  ],
  [
    "the platform throws",
    () => {
      throw new Error("no threads left");
    },
    /no threads left/,
  ],
] as const)
  test(`a worker that cannot start (${name}) is tried a few times, and said to be unusable`, async () => {
    let started = 0;
    const trainer = trainerOf(() => {
      started++;
      return startWorker();
    });
    trainers.push(trainer);
    await assert.rejects(trainer.train(job()), {
      name: "ConfigError",
      code: "worker-unusable",
      message,
    });
    assert.equal(started, 5);
  });

test("a job that is cancelled while no worker starts ends as cancelled", async () => {
  const cancelling = new AbortController();
  let started = 0;
  const trainer = trainerOf(() => {
    if (++started === 3) cancelling.abort();
    return scriptWorker(new URL("stillborn-worker.js", import.meta.url));
  });
  trainers.push(trainer);
  await assert.rejects(trainer.train(job(), { signal: cancelling.signal }), { code: "cancelled" });
  assert.equal(started, 3);
});

test("closing ends what is under way and what waits, and takes no more", async () => {
  const { trainer } = open();
  const { begun, ended } = startLong(trainer);
  const waiting = trainer.train(job());
  await begun;
  trainer.close();
  for (const promise of [ended, waiting, trainer.train(job())])
    await assert.rejects(promise, { code: "cancelled" });
});
