import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TakenThreshold } from "../../../aggregator/clients/threshold.js";
import type { GivenSettings } from "../../../aggregator/settings.js";
import { memoryLedger } from "../../../aggregator/storage/memory.js";
import { initialModel } from "../../../runtime/models/initial.js";
import { loadModel, parseCard, readCard } from "../../../runtime/models/model.js";
import { federation, logged, tinyModel, type Federation } from "./federation.js";
import { updateFor, type Message, type RawClient } from "./raw-client.js";

const model = initialModel(
  parseCard({
    description: {
      input: [4],
      layers: [{ type: "dense", units: 4 }],
      loss: { type: "meanSquaredError", target: "input" },
    },
  }),
  "1",
);

const SETTINGS: GivenSettings = {
  ...{ normalise: "none", rounds: 1, threshold: 0.9, evaluateFraction: 0 },
  ...{ overSelection: 1, quorum: 0.5 },
};

async function withFederation(
  settings: GivenSettings,
  body: (f: Federation) => Promise<void>,
  options: Parameters<typeof federation>[1] = {},
): Promise<void> {
  const f = await federation({ ...SETTINGS, ...settings }, { model, ...options });
  try {
    await body(f);
  } finally {
    await f.end();
  }
}

const taken = (f: Federation) =>
  new Promise<TakenThreshold>((resolve) => f.aggregator.on("threshold", resolve));

/** All clients train the one round; each is then asked to evaluate its model. */
async function trained(f: Federation, ...names: readonly string[]) {
  const clients: RawClient[] = [];
  for (const name of names) clients.push(await f.client(name));
  for (const client of clients) client.send({ type: "ready" });
  await Promise.all(
    clients.map(async (client) => {
      const assign = await client.next("assign");
      const bytes = await client.fetch(assign["model"]);
      await client.deliver(
        assign["assignment"],
        updateFor(bytes, () => 1),
      );
      await client.next("committed");
    }),
  );
  return { clients, asks: await Promise.all(clients.map(asked)) };
}

async function asked(client: RawClient): Promise<Message> {
  const assign = await client.next("assign");
  assert.equal(assign["task"], "evaluate");
  client.send({ type: "accept", assignment: assign["assignment"] });
  return assign;
}

/** Ten examples held out, whose errors are all in the bin at 2^octave. */
function report(client: RawClient, { assignment }: Message, octave: number, claimed = 10) {
  const bins = new Array<number>(256).fill(0);
  bins[8 * octave + 160] = claimed;
  const evaluation = { count: 10, correct: 0, loss: 1, sums: [0, 0, 0, 0, 0, ...bins] };
  client.send({ type: "report", assignment, evaluation });
}

test("after the last round clients' held-out errors give a threshold, and finished names a model with it", () =>
  withFederation({ gather: 3 }, async (f) => {
    const { clients, asks } = await trained(f, "a", "b", "c");
    clients.forEach((client, i) => report(client, asks[i], i));
    const finished = await clients[0].next("finished");
    const bytes = await clients[0].fetch(finished["model"]);
    // Of three the middle one is left: 2^1 is in the bin that ends an eighth of an octave above.
    assert.deepEqual(readCard(bytes).threshold, { quantile: 0.9, value: 2 ** (1 + 1 / 8) });
    const before = loadModel(await clients[1].fetch(asks[0]["model"]));
    assert.equal(before.threshold, undefined);
    assert.deepEqual(loadModel(bytes).weights, before.weights);
    const done = await f.aggregator.done;
    assert.deepEqual([...done.model], [...bytes]);
  }));

test("a client that is late, lies or cannot count is not in the threshold", () =>
  withFederation({ gather: 5, evaluateDeadline: 1500 }, async (f) => {
    const doubted: string[] = [];
    f.aggregator.on("doubted", ({ client }) => void doubted.push(client));
    const end = taken(f);
    const { clients, asks } = await trained(f, "a", "b", "c", "d", "e");
    const [a, b, liar, odd, late] = clients;
    report(a, asks[0], 0);
    report(b, asks[1], 0);
    report(liar, asks[2], 11);
    report(odd, asks[3], 0, 1000);
    const { record } = await end;
    report(late, asks[4], 0);
    assert.deepEqual(doubted, [odd.id]);
    assert.equal(record!.value, 2 ** (1 / 8));
    assert.ok(record!.leftOut.includes(liar.id));
    assert.equal(record!.members.length + record!.leftOut.length, 3);
  }));

test("too few answers give no threshold, and that is said", () =>
  withFederation({ gather: 2, minimum: 2 }, async (f) => {
    const end = taken(f);
    const { clients, asks } = await trained(f, "a", "b");
    report(clients[0], asks[0], 0);
    const { assignment } = asks[1];
    clients[1].send({ type: "decline", assignment, code: "data", message: "nothing held out" });
    assert.deepEqual(await end, { clients: 1, minimum: 2 });
    const bytes = await clients[0].fetch((await clients[0].next("finished"))["model"]);
    assert.equal(readCard(bytes).threshold, undefined);
  }));

test("a restart before the threshold, or with another quantile, asks again; else it is kept", async () => {
  const folder = await mkdtemp(join(tmpdir(), "fedflat-threshold-"));
  const run = join(folder, "run");
  const cardOf = async () => JSON.parse(await readFile(join(run, "model", "model.json"), "utf8"));
  try {
    await withFederation(
      { gather: 2 },
      async (f) => {
        const { clients } = await trained(f, "a", "b");
        for (const client of clients) client.cut();
      },
      { folder: run },
    );
    assert.equal((await cardOf()).threshold, undefined);
    await withFederation(
      { gather: 2 },
      async (f) => {
        const clients = [await f.client("a"), await f.client("b")];
        for (const client of clients) client.send({ type: "ready" });
        for (const client of clients) report(client, await asked(client), 2);
        await f.aggregator.done;
      },
      { folder: run, resume: true },
    );
    const { threshold, sha256 } = await cardOf();
    assert.deepEqual(threshold, { quantile: 0.9, value: 2 ** (2 + 1 / 8) });
    await withFederation(
      { gather: 2 },
      async (f) => {
        const { model } = await f.aggregator.done;
        assert.deepEqual(readCard(model).threshold, threshold);
      },
      { folder: run, resume: true },
    );
    assert.equal((await cardOf()).sha256, sha256, "the same bytes");
    await withFederation(
      { gather: 2, threshold: 0.5 },
      async (f) => {
        const clients = [await f.client("a"), await f.client("b")];
        for (const client of clients) client.send({ type: "ready" });
        for (const client of clients) report(client, await asked(client), 1);
        const { model } = await f.aggregator.done;
        assert.deepEqual(readCard(model).threshold, { quantile: 0.5, value: 2 ** (1 + 1 / 8) });
      },
      { folder: run, resume: true },
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("a threshold that cannot be written is not said to be taken, and the run ends without", async () => {
  const ledger = memoryLedger();
  ledger.keepThreshold = () => Promise.reject(new Error("no room"));
  await withFederation(
    { gather: 2 },
    async (f) => {
      const told: TakenThreshold[] = [];
      f.aggregator.on("threshold", (threshold) => told.push(threshold));
      const { clients, asks } = await trained(f, "a", "b");
      clients.forEach((client, i) => report(client, asks[i], 0));
      const { model } = await f.aggregator.done;
      assert.equal(readCard(model).threshold, undefined);
      assert.deepEqual(told, []);
      assert.ok(logged(f, /the run cannot continue/));
      assert.equal(logged(f, /a threshold is taken/), undefined);
    },
    { ledger },
  );
});

for (const [what, evaluateFraction] of [
  ["a threshold is", 0],
  ["the last model's figures are", 1],
] as const)
  test(`a run that is stopped while ${what} asked for takes no threshold of those who were quick`, () =>
    withFederation({ gather: 2, evaluateFraction, evaluateDeadline: 2000 }, async (f) => {
      const told: TakenThreshold[] = [];
      f.aggregator.on("threshold", (threshold) => told.push(threshold));
      const { clients, asks } = await trained(f, "a", "b");
      report(clients[0], asks[0], 0);
      await clients[0].next("received");
      await f.aggregator.stop();
      assert.deepEqual(told, []);
      assert.equal(readCard((await f.aggregator.done).model).threshold, undefined);
      const evaluations = clients.map(
        ({ messages }) => messages.filter(({ task }) => task === "evaluate").length,
      );
      assert.deepEqual(evaluations, [1, 1], "nobody is asked once more");
    }));

test("a threshold is asked of models whose target is the input alone", async () => {
  await assert.rejects(federation(SETTINGS, { model: tinyModel() }), { code: "threshold" });
});
