import assert from "node:assert/strict";
import { test } from "node:test";
import { nodePlatform } from "../../runtime/platform/node.js";
import { trainerOf } from "../../runtime/training/trainer.js";
import { launchChromium, serveDist, withoutChromium } from "./chromium.js";
import { localRound } from "./local-round.js";

/**
 * A page's program: one job through the bundled worker. The browser's own names are unknown to a
 * test's types.
 */
const TRAIN_IN_PAGE = `
  const { trainerOf } = await import("/runtime/training/trainer.js");
  const trainer = trainerOf(() => {
    const worker = new Worker("/client-worker.js");
    const file = (name) => new URL(name, location).href;
    worker.postMessage({
      kernels: { simd: file("kernels.simd.wasm"), relaxed: file("kernels.relaxed.wasm") },
      tfjs: file("tfjs-backend-wasm-simd.wasm"),
    });
    const port = {
      post: (message, transfer = []) => worker.postMessage(message, transfer),
      terminate: () => worker.terminate(),
    };
    worker.onmessage = ({ data }) => port.onMessage?.(data);
    worker.onerror = ({ message }) => port.onExit?.(message);
    return port;
  });
  const { dataset, rows } = job.part;
  const { delta } = await trainer.train({
    ...job,
    weights: new Float32Array(job.weights),
    part: {
      dataset: {
        ...dataset,
        inputs: new Float32Array(dataset.inputs),
        labels: new Int32Array(dataset.labels),
      },
      rows: new Uint32Array(rows),
    },
  });
  trainer.close();
  return [...delta];
`;

test(
  "the bundled worker trains a local round in Chromium to the same delta as in Node",
  { skip: withoutChromium },
  async (t) => {
    const site = await serveDist();
    t.after(() => site.close());
    const browser = await launchChromium();
    t.after(() => browser.close());
    const page = await browser.newPage();
    const errors: string[] = [];
    page.on("pageerror", (error) => errors.push(error.message));
    page.on("console", (message) => {
      if (message.type() === "error") errors.push(message.text());
    });
    await page.goto(site.url);
    const job = JSON.stringify(localRound(), (_, value: unknown) =>
      ArrayBuffer.isView(value) ? Array.from(value as Float32Array) : value,
    );
    const delta = await page.evaluate(`(async (job) => { ${TRAIN_IN_PAGE} })(${job})`);
    assert.deepEqual(errors, []);

    const trainer = trainerOf(nodePlatform({ relaxedSimd: true }).startWorker);
    t.after(() => trainer.close());
    const expected = await trainer.train(localRound());
    assert.deepEqual(delta, [...expected.delta]);
  },
);
