import assert from "node:assert/strict";
import { test } from "node:test";
import { loadModel } from "../../runtime/models/model.js";
import { federation } from "../aggregator/run/federation.js";
import { launchChromium, serveDist, withoutChromium } from "./chromium.js";
import { examples, smallModel } from "./local-round.js";

interface Seen {
  readonly reason: string;
  readonly model: string;
  readonly label: number;
}

/** A page's program, as a web developer would write it against the bundle. */
const TAKE_PART = `
  const { FederatedClient } = await import("/client.js");
  const client = new FederatedClient({ url, state, data: { x: new Float32Array(x), y } });
  const { reason, model } = await client.run();
  const [{ label }] = await client.predict(new Float32Array(x.slice(0, 128)));
  return { reason, model: model.sha256, label };
`;

test(
  "two pages in Chromium train two rounds with a real aggregator, from the bundle",
  { skip: withoutChromium },
  async (t) => {
    const run = await federation(
      { rounds: 2, minimum: 2, evaluateFraction: 1, localEpochs: 2 },
      { model: smallModel() },
    );
    t.after(() => run.end());
    const site = await serveDist(
      {},
      {
        "content-security-policy": `default-src 'none'; img-src data:; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self' ${run.url}`,
      },
    );
    t.after(() => site.close());
    const browser = await launchChromium();
    t.after(() => browser.close());
    const context = await browser.newContext();

    const rounds: { participants: readonly string[]; samples: number }[] = [];
    run.aggregator.on("round", ({ participants, samples = NaN }) =>
      rounds.push({ participants, samples }),
    );
    const errors: string[] = [];
    const takePart = async (state: string, seed: number): Promise<Seen> => {
      const page = await context.newPage();
      page.on("pageerror", (error) => errors.push(error.message));
      page.on("console", (message) => {
        if (message.type() === "error") errors.push(message.text());
      });
      await page.goto(site.url);
      const { x, y } = examples(40, seed);
      return page.evaluate(
        `(async ({ url, state, x, y }) => { ${TAKE_PART} })(${JSON.stringify({ url: run.url, state, x: [...x], y })})`,
      );
    };
    const seen = await Promise.all([takePart("first", 1), takePart("second", 2)]);

    const ending = await run.aggregator.done;
    assert.deepEqual(errors, []);
    assert.equal(ending.reason, "finished");
    assert.equal(ending.rounds, 2);
    for (const { participants, samples } of rounds) {
      assert.equal(participants.length, 2);
      // Each page held out about a tenth of its examples.
      assert.ok(samples > 40 && samples < 80, String(samples));
    }
    for (const { reason, model, label } of seen) {
      assert.equal(reason, "finished");
      assert.equal(model, run.aggregator.model.sha256);
      assert.ok([0, 1, 2].includes(label));
    }
    const { weights } = loadModel(ending.model);
    assert.notDeepEqual(weights, smallModel().weights);
    assert.ok(weights.every(Number.isFinite));
  },
);
