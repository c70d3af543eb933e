import assert from "node:assert/strict";
import { test } from "node:test";
import { clientEvents } from "../../runtime/client/events.js";
import type { Loaded, ModelCache } from "../../runtime/client/model-cache.js";
import { predictorOf } from "../../runtime/client/predictor.js";
import type { Workers } from "../../runtime/client/workers.js";
import { parseDescription } from "../../runtime/models/description.js";

const description = parseDescription({ input: [1], layers: [{ type: "dense", units: 2 }] });

/** A cache whose models come when the test says so, and workers that say which model they were given. */
function given() {
  const come = new Map<string, (loaded: Loaded) => void>();
  const [first, second] = ["first", "second"].map(
    (sha256) => new Promise<Loaded>((resolve) => come.set(sha256, resolve)),
  );
  const models = {
    load: ({ sha256 }) => (sha256 === "first" ? first : second),
  } as Pick<ModelCache, "load"> as ModelCache;
  const workers = {
    predict: async ({ weights }) => Float32Array.of(-weights[0], weights[0]),
  } as Pick<Workers, "predict"> as Workers;
  const comes = (sha256: string, weight: number) => {
    const [layout, bytes] = [{ parameters: [], size: 1 }, new Uint8Array()];
    const model = { description, layout, weights: Float32Array.of(weight), classes: [], sha256 };
    come.get(sha256)!({ model, bytes });
    return new Promise(setImmediate);
  };
  const events = clientEvents();
  return { predictor: predictorOf(models, workers, events), events, comes };
}

const blob = (sha256: string) => ({ sha256, bytes: 1 });

test("a prediction is the newest model's, also where that was announced while another came", async () => {
  const { predictor, comes } = given();
  await predictor.announced(1, blob("first"));
  const prediction = predictor.predict(Float32Array.of(1));
  await predictor.announced(2, blob("second"));
  await comes("first", -1);
  await comes("second", 1);
  const [said] = await prediction;
  assert.equal(said.task === "classes" && said.label, 1);
  assert.deepEqual([predictor.committed?.sha256, predictor.committed?.round], ["second", 2]);
});

test("a model that is fetched for several is told once", async () => {
  const { predictor, events, comes } = given();
  const told: (number | undefined)[] = [];
  await predictor.announced(1, blob("first"));
  events.on("model", ({ round }) => told.push(round));
  const both = [predictor.predict(Float32Array.of(1)), predictor.announced(2, blob("second"))];
  await comes("first", -1);
  await comes("second", 1);
  await Promise.all(both);
  assert.deepEqual(told, [2]);
});
