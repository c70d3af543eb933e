import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { definitionOf } from "../../../aggregator/run/definition.js";
import type { GivenSettings } from "../../../aggregator/settings.js";
import { initialModel } from "../../../runtime/models/initial.js";
import { parseCard, readCard } from "../../../runtime/models/model.js";
import { federation, logged, tinyModel, type Federation } from "./federation.js";
import { updateFor, type Message, type RawClient } from "./raw-client.js";

const SETTINGS: GivenSettings = { normalise: "channels", rounds: 2, quorum: 0.6 };

/** What the client of this name says of four columns: all of them by themselves within the others'. */
const answerOf = (name: string) => {
  const own = name.charCodeAt(0) - 96;
  return {
    count: 10 * own,
    mean: [own, -own, 100 + own / 2, 0],
    deviation: [1, 2, 3, 0],
  };
};

/** The same of all of them, by the definition. */
function pooled(names: readonly string[]) {
  const all = names.map(answerOf);
  const count = all.reduce((sum, one) => sum + one.count, 0);
  const mean = all[0].mean.map(
    (_, c) => all.reduce((sum, one) => sum + one.count * one.mean[c], 0) / count,
  );
  const deviation = mean.map((m, c) =>
    Math.sqrt(
      all.reduce(
        (sum, one) => sum + one.count * (one.deviation[c] ** 2 + (one.mean[c] - m) ** 2),
        0,
      ) / count,
    ),
  );
  return { count, mean, deviation };
}

const near = (a: readonly number[], b: readonly number[]) =>
  a.forEach((value, i) => assert.ok(Math.abs(value - b[i]) <= 1e-6 * Math.abs(b[i]), `${i}`));

const ones = (_: unknown, model: Uint8Array) => updateFor(model, () => 1);

async function ready(f: Federation, ...names: readonly string[]): Promise<RawClient[]> {
  const clients: RawClient[] = [];
  for (const name of names) clients.push(await f.client(name));
  for (const client of clients) client.send({ type: "ready" });
  return clients;
}

async function asked(client: RawClient): Promise<Message> {
  const assign = await client.next("assign");
  assert.equal(assign["task"], "statistics");
  assert.equal(assign["phase"], "statistics");
  assert.equal(assign["round"], 1);
  assert.deepEqual(assign["settings"], { shape: [4], scale: 1, targets: 0 });
  client.send({ type: "accept", assignment: assign["assignment"] });
  return assign;
}

const report = (client: RawClient, { assignment }: Message, statistics: object) =>
  client.send({ type: "report", assignment, statistics });

async function answer(client: RawClient, name: string): Promise<void> {
  report(client, await asked(client), answerOf(name));
  await client.next("received");
}

/** The first assignment of a round, and the card of its model. */
async function firstRound(client: RawClient) {
  const assign = await client.next("assign");
  assert.equal(assign["task"], "train");
  assert.equal(assign["round"], 1);
  const model = await client.fetch(assign["model"]);
  return { assign, model, card: readCard(model) };
}

async function withFederation(
  settings: GivenSettings,
  body: (f: Federation) => Promise<void>,
  options: Parameters<typeof federation>[1] = {},
): Promise<void> {
  const f = await federation({ ...SETTINGS, ...settings }, options);
  try {
    await body(f);
  } finally {
    await f.end();
  }
}

for (const mode of ["synchronous", "buffered"] as const)
  test(`clients give statistics before the first of ${mode} rounds, and its model bears them`, () =>
    withFederation({ mode, gather: 3, buffer: 3 }, async (f) => {
      const clients = await ready(f, "a", "b", "c");
      await Promise.all(clients.map((client, i) => answer(client, "abc"[i])));
      const { count, mean, deviation } = pooled(["a", "b", "c"]);
      const all = await Promise.all(clients.map(firstRound));
      assert.equal(f.aggregator.statistics?.count, count);
      near(f.aggregator.statistics!.mean, mean);
      near(f.aggregator.statistics!.deviation, deviation);
      for (const { card } of all) {
        near(card.normalisation!.mean, mean);
        near(card.normalisation!.deviation, [...deviation.slice(0, 3), 1]);
      }
      const status = f.aggregator.status().statistics!;
      assert.deepEqual(status.remarks, [
        "Inputs are normalised by statistics of 60 examples of 3 clients.",
        "Inputs that never change cannot be scaled: channel 3.",
      ]);
      assert.deepEqual(status.members, clients.map(({ id }) => id).sort());
      const late = await f.client("d");
      await Promise.all([
        ...clients.map((client, i) =>
          client
            .deliver(all[i].assign["assignment"], ones(0, all[i].model))
            .then(() => client.work(ones)),
        ),
        late.work(ones),
      ]);
      const { rounds, model } = await f.aggregator.done;
      assert.equal(rounds, 2);
      assert.deepEqual(readCard(model), all[0].card, "fixed for the whole run");
    }));

test("statistics have the same bits whoever comes first", async () => {
  const taken: unknown[] = [];
  for (const order of ["abc", "cab"])
    await withFederation({ gather: 3 }, async (f) => {
      const clients = await ready(f, "a", "b", "c");
      for (const name of order) await answer(clients["abc".indexOf(name)], name);
      await firstRound(clients[0]);
      taken.push(f.aggregator.statistics);
    });
  assert.deepEqual(taken[0], taken[1]);
});

test("of a regression the targets' statistics are taken too, and stand in the card", () => {
  const model = initialModel(
    parseCard({
      description: {
        input: [4],
        layers: [{ type: "dense", units: 2 }],
        loss: { type: "meanSquaredError" },
      },
    }),
    "1",
  );
  const targetsOf = (name: string) => {
    const { mean, deviation } = answerOf(name);
    return { targetMean: [mean[0], 7], targetDeviation: [deviation[1], 0] };
  };
  return withFederation(
    { gather: 3 },
    async (f) => {
      const clients = await ready(f, "a", "b", "c");
      for (const [i, name] of ["a", "b", "c"].entries()) {
        const assign = await clients[i].next("assign");
        assert.deepEqual(assign["settings"], { shape: [4], scale: 1, targets: 2 });
        report(clients[i], assign, { ...answerOf(name), ...targetsOf(name) });
        await clients[i].next("received");
      }
      const { card } = await firstRound(clients[0]);
      near(card.normalisation!.mean, pooled(["a", "b", "c"]).mean);
      // Means 1, 2 and 3 by 10, 20 and 30 examples, deviations 2.
      near(card.targets!.mean, [14 / 6, 7]);
      near(card.targets!.deviation, [Math.sqrt(4 + 36 / 6 - (14 / 6) ** 2), 1]);
    },
    { model },
  );
});

test("a client that drops out is not in the statistics, and one that comes late is told", () =>
  withFederation({ gather: 4, deadline: 1500, quorum: 0.5 }, async (f) => {
    const [a, b, gone, slow] = await ready(f, "a", "b", "c", "d");
    await asked(gone);
    const late = await asked(slow);
    gone.cut();
    await answer(a, "a");
    await answer(b, "b");
    const refused = await slow.next("refused");
    assert.equal(refused["code"], "late");
    report(slow, late, answerOf("d"));
    assert.equal((await slow.next("refused"))["code"], "late");
    await firstRound(a);
    assert.deepEqual(f.aggregator.statistics!.members, [a.id, b.id].sort());
    near(f.aggregator.statistics!.mean, pooled(["a", "b"]).mean);
  }));

test("a client that declines statistics trains all the same", () =>
  withFederation({ gather: 3, overSelection: 1 }, async (f) => {
    const missed: unknown[] = [];
    f.aggregator.on("missed", (work) => missed.push(work));
    const [a, b, c] = await ready(f, "a", "b", "c");
    const { assignment } = await asked(c);
    c.send({ type: "decline", assignment, code: "task", message: "never heard of it" });
    await answer(a, "a");
    await answer(b, "b");
    const all = await Promise.all([a, b, c].map(firstRound));
    assert.equal(new Set(all.map(({ assign }) => assign["model"].sha256)).size, 1);
    assert.deepEqual(f.aggregator.statistics!.members, [a.id, b.id].sort());
    assert.deepEqual(missed, []);
  }));

test("where too few can give statistics the run waits, and says for whom", () =>
  withFederation({ gather: 2, minimum: 2 }, async (f) => {
    const [a, b] = await ready(f, "a", "b");
    await asked(a);
    const { assignment } = await asked(b);
    b.send({ type: "decline", assignment, code: "data", message: "15 examples" });
    assert.equal((await a.next("refused"))["code"], "abandoned");
    assert.match((await a.next("wait"))["reason"], /statistics/);
    const c = await f.client("c");
    c.send({ type: "ready" });
    await Promise.all([answer(a, "a"), answer(c, "c")]);
    await firstRound(b);
    assert.deepEqual(f.aggregator.statistics!.members, [a.id, c.id].sort());
  }));

test("where nobody can give statistics, and nobody asked for them, the run begins without", () =>
  withFederation({ normalise: undefined, gather: 2, minimum: 2 }, async (f) => {
    const told = new Promise<string>((resolve) => f.aggregator.on("withoutStatistics", resolve));
    const clients = await ready(f, "a", "b");
    for (const client of clients) {
      const { assignment } = await asked(client);
      client.send({ type: "decline", assignment, code: "data", message: "got 15" });
    }
    assert.match(await told, /^Inputs are not normalised: too few clients can give statistics/);
    const { card } = await firstRound(clients[0]);
    assert.equal(card.normalisation, undefined);
  }));

test("a client that sends nonsense is held to the bound, or refused, and named", () =>
  withFederation({ gather: 5, quorum: 0.6 }, async (f) => {
    const [a, b, c, wild, odd] = await ready(f, "a", "b", "c", "d", "e");
    const wrong = await asked(odd);
    report(odd, wrong, { ...answerOf("e"), mean: [1, 2, 3] });
    assert.equal((await odd.next("refused"))["code"], "other");
    report(wild, await asked(wild), { count: 1e9, mean: [1e30, 0, 0, 0], deviation: [0, 0, 0, 0] });
    await Promise.all([answer(a, "a"), answer(b, "b"), answer(c, "c")]);
    await firstRound(a);
    const { members, held, mean, count } = f.aggregator.statistics!;
    assert.deepEqual(members, [a, b, c, wild].map(({ id }) => id).sort());
    assert.deepEqual(
      held.map(({ client, channels }) => [client, channels[0]]),
      [[wild.id, 0]],
    );
    // Of 10, 20, 30 and a lie the median is 20: the lie counts as 80.
    assert.equal(count, 140);
    // The median of the means is 2, and the third spread of four that of clients a and c.
    const bound = 8 * (80 / 140) * Math.hypot(1, 1);
    assert.ok(Math.abs(mean[0] - pooled(["a", "b", "c"]).mean[0]) <= bound);
    assert.match(f.aggregator.status().statistics!.remarks[1], new RegExp(wild.id.slice(0, 8)));
  }));

test("a client whose statistics were refused three times is not asked for them again", () =>
  withFederation({ gather: 2, minimum: 2 }, async (f) => {
    const waits = new Promise<void>((resolve) =>
      f.aggregator.on("waiting", (sentence) => {
        if (sentence.includes("1 cannot give statistics")) resolve();
      }),
    );
    const [a, odd] = await ready(f, "a", "b");
    for (let time = 1; time <= 3; time++) {
      report(odd, await asked(odd), { ...answerOf("b"), mean: [1, 2, 3] });
      assert.equal((await odd.next("refused"))["code"], "other");
      await asked(a);
    }
    const next = odd.next("assign");
    await Promise.race([waits, next]);
    const c = await f.client("c");
    c.send({ type: "ready" });
    await Promise.all([answer(a, "a"), answer(c, "c")]);
    assert.equal((await next)["task"], "train");
  }));

test("after a restart statistics are not taken again where they stand in the journal, else they are", async () => {
  const folder = await mkdtemp(join(tmpdir(), "fedflat-statistics-"));
  const run = join(folder, "run");
  const settings: GivenSettings = { gather: 2, overSelection: 1 };
  try {
    await withFederation(
      settings,
      async (f) => {
        const [a, b] = await ready(f, "a", "b");
        await answer(a, "a");
        await asked(b);
      },
      { folder: run },
    );
    let model: unknown;
    await withFederation(
      settings,
      async (f) => {
        const [a, b] = await ready(f, "a", "b");
        await Promise.all([answer(a, "a"), answer(b, "b")]);
        const { assign } = await firstRound(a);
        ({ model } = assign);
      },
      { folder: run, resume: true },
    );
    const { mean } = JSON.parse(await readFile(join(run, "statistics.json"), "utf8"));
    near(mean, pooled(["a", "b"]).mean);
    await withFederation(
      settings,
      async (f) => {
        near(f.aggregator.statistics!.mean, mean);
        const [a, b] = await ready(f, "a", "b");
        assert.deepEqual((await firstRound(a)).assign["model"], model, "the same bytes");
        a.cut();
        b.cut();
        assert.equal(logged(f, /asked for statistics/), undefined);
      },
      { folder: run, resume: true },
    );
    const resumed = (change: GivenSettings) =>
      federation({ ...SETTINGS, ...settings, ...change }, { folder: run, resume: true });
    await assert.rejects(resumed({ normalise: "none" }), { code: "resume" });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("a run that was begun without statistics goes on without, and cannot be given them", async () => {
  const folder = await mkdtemp(join(tmpdir(), "fedflat-statistics-"));
  const run = join(folder, "run");
  const open = (normalise: GivenSettings["normalise"], resume = true) =>
    federation({ rounds: 3, normalise }, { folder: run, resume });
  try {
    const first = await open("none", false);
    const [a] = await ready(first, "a");
    await firstRound(a);
    await first.end();
    await assert.rejects(open("channels"), { code: "resume" });
    const again = await open(undefined);
    const [b] = await ready(again, "a");
    const { card } = await firstRound(b);
    assert.equal(card.normalisation, undefined);
    await again.end();
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("tables and series are normalised unless somebody says otherwise; images, tokens and models that know are not", () => {
  const takes = (model: object, settings: GivenSettings = {}) =>
    definitionOf({ model: { ...tinyModel(), ...model }, settings }).takesStatistics;
  const description = (input: number[], ...layers: object[]) =>
    initialModel(
      parseCard({
        description: { input, layers: [...layers, { type: "dense", units: 2 }] },
        classes: ["0", "1"],
      }),
      "1",
    );
  assert.equal(takes({}), true);
  assert.equal(takes(description([8, 3], { type: "flatten" })), true);
  assert.equal(takes(description([8, 8, 1], { type: "flatten" })), false);
  const embedding = { type: "embedding", vocabulary: 10, units: 2 };
  assert.equal(takes(description([8], embedding, { type: "flatten" })), false);
  assert.equal(takes(description([8, 8, 1], { type: "flatten" }), { normalise: "channels" }), true);
  assert.equal(takes({}, { normalise: "none" }), false);
  const normalisation = { scale: 1, mean: [0], deviation: [1] };
  assert.equal(takes({ normalisation }), false);
  assert.throws(() => takes({ normalisation }, { normalise: "channels" }), {
    code: "normalisation",
  });
});
