import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { parseDescription } from "../../runtime/models/description.js";
import { initialWeights } from "../../runtime/models/initial.js";
import { writeModel } from "../../runtime/models/model.js";
import { networkOf } from "../../runtime/models/network.js";
import { launchChromium, serveDist, withoutChromium } from "../bundle/chromium.js";
import { scriptedServer, type ServerLine } from "../connection/scripted-server.js";

const description = parseDescription({
  input: [4],
  layers: [{ type: "dense", units: 2 }],
});
const { layout } = networkOf(description);
const model = writeModel({
  description,
  layout,
  weights: initialWeights(networkOf(description), "seed"),
  classes: ["no", "yes"],
});
const blob = {
  sha256: createHash("sha256").update(model).digest("hex"),
  bytes: model.length,
};
const assign = {
  type: "assign" as const,
  assignment: "ab".repeat(16),
  round: 1,
  attempt: 1,
  phase: "train",
  task: "train",
  model: blob,
  codec: "float32",
  settings: {
    algorithm: "feddyn",
    algorithmSettings: { alpha: 0.01 },
    localEpochs: 1,
    batchSize: 4,
    learningRate: 0.1,
    initialLearningRate: 0.1,
    weightDecay: 0,
    clipNorm: 10,
    zeta: 0,
    manIncludesLogits: false,
    shuffle: true,
    population: 2,
    meanSamples: 9,
    seed: "seed",
  },
  deadline: 60_000,
};

/**
 * Runs in the page: a client that runs until it is stopped, or ends at once with an error's
 * code.
 */
async function startClient({ dist, url }: { dist: string; url: string }) {
  const { FederatedClient } = await import(`${dist}client.js`);
  const client = new FederatedClient({
    url,
    state: "browser test",
    data: {
      x: Float32Array.from({ length: 40 }, (_, i) => Math.sin(i)),
      y: [0, 1, 0, 1, 0, 1, 0, 1, 0, 1],
    },
  });
  Object.assign(globalThis, { client });
  const failed = client.run().catch((error: { code: string }) => error.code);
  const started = new Promise((resolve) => client.on("line", () => resolve("up")));
  return (await Promise.race([failed, started])) as unknown;
}

/** Runs in the page: whether a half-trained round is kept there. */
const hasHalfTrained = `(async () => {
  const opening = indexedDB.open("fedflat browser test");
  await new Promise((resolve) => (opening.onsuccess = resolve));
  const keys = opening.result.transaction("blobs").objectStore("blobs").getAllKeys();
  await new Promise((resolve) => (keys.onsuccess = resolve));
  opening.result.close();
  return keys.result.includes("half-trained");
})()`;

describe("a client in a browser", { skip: withoutChromium }, () => {
  let browser: Browser;
  let context: BrowserContext;
  let dist: Awaited<ReturnType<typeof serveDist>>;
  before(async () => {
    [browser, dist] = await Promise.all([launchChromium(), serveDist()]);
    context = await browser.newContext();
  });
  after(async () => {
    await browser?.close();
    dist?.close();
  });
  const open = async (address = dist.url): Promise<Page> => {
    const page = await context.newPage();
    await page.goto(address);
    return page;
  };

  test("keeps key, update and state over a reload, for one tab at a time", async () => {
    const server = await scriptedServer();
    after(() => server.close());
    const { url } = server;
    const takeUpdate = async (line: ServerLine) => {
      const { assignment, bytes, sha256 } = await line.next("offer");
      line.send({
        type: "grant",
        assignment,
        transfer: 2,
        offset: 0,
        window: bytes,
      });
      const { bytes: update } = await line.nextChunk();
      assert.equal(createHash("sha256").update(update).digest("hex"), sha256);
      return sha256;
    };
    const page = await open();
    const starting = page.evaluate(startClient, { dist: dist.url, url });
    const { line, hello } = await server.welcomed();
    assert.equal(await starting, "up");
    line.send(assign);
    const { transfer } = await line.next("want");
    line.chunk(transfer, 0, model);
    const update = await takeUpdate(line);

    // A second tab may not have the same state.
    const other = await open();
    assert.equal(await other.evaluate(startClient, { dist: dist.url, url }), "state-locked");
    await other.close();

    await page.reload();
    const again = page.evaluate(startClient, { dist: dist.url, url });
    const second = await server.welcomed();
    await again;
    assert.equal(second.hello.key, hello.key);
    assert.deepEqual(second.hello.pending, [{ assignment: assign.assignment, sha256: update }]);
    assert.equal(await takeUpdate(second.line), update);
    second.line.send({
      type: "committed",
      assignment: assign.assignment,
      round: 1,
      model: blob,
    });
    second.line.send({ type: "ping" });
    await second.line.next("pong");
    await page.evaluate("client.stop()");

    await page.reload();
    const third = page.evaluate(startClient, { dist: dist.url, url });
    const { hello: last } = await server.welcomed();
    await third;
    assert.deepEqual(last.counted, {
      round: 1,
      assignment: assign.assignment,
      sha256: update,
    });
    await page.evaluate("client.stop()");
    await page.close();
  });

  test("answers pings while it trains, and after a reload goes on where it was cut", async () => {
    const server = await scriptedServer();
    after(() => server.close());
    const { url } = server;
    // Snapshots are timed by the worker's clock, which goes a thousand times faster here.
    const worker = await readFile(new URL("../../client-worker.js", import.meta.url), "utf8");
    const quick = await serveDist({
      "/client-worker.js": `const now = performance.now.bind(performance); performance.now = () => 1000 * now();${worker}`,
    });
    after(() => quick.close());
    const page = await open(quick.url);
    void page.evaluate(startClient, { dist: quick.url, url });
    const { line } = await server.welcomed();
    const long = {
      ...assign,
      assignment: "cd".repeat(16),
      settings: { ...assign.settings, localEpochs: 10_000 },
    };
    line.send(long);
    const { transfer } = await line.next("want");
    line.chunk(transfer, 0, model);
    const { batch, batches } = await line.next("progress");
    for (let id = 1; id <= 3; id++) {
      line.send({ type: "ping", id });
      assert.equal((await line.next("pong")).id, id);
    }
    assert.ok(batch < batches);
    while (!(await page.evaluate(hasHalfTrained)));

    await page.reload();
    void page.evaluate(startClient, { dist: quick.url, url });
    const again = await server.welcomed();
    assert.deepEqual(again.hello.pending, []);
    again.line.send(long);
    const want = await again.line.next("want");
    again.line.chunk(want.transfer, 0, model);
    const resumed = await again.line.next("progress");
    assert.ok(resumed.batch > 1, `${resumed.batch}`);
    await page.evaluate("client.stop()");
    await page.close();
  });

  test("says why it cannot work in an insecure page", async () => {
    const page = await open(dist.url.replace("127.0.0.1", "fedflat.test"));
    assert.equal(
      await page.evaluate(startClient, {
        dist: dist.url.replace("127.0.0.1", "fedflat.test"),
        url: "ws://fedflat.test/",
      }),
      "insecure-context",
    );
    await page.close();
  });
});
