import assert from "node:assert/strict";
import { test } from "node:test";
import { plain } from "../../../aggregator/aggregation/arithmetic.js";
import { firstCheckpoint, openReducer } from "../../../aggregator/aggregation/reducer.js";
import { RULES } from "../../../aggregator/aggregation/rules/built-in.js";
import { Aggregator } from "../../../aggregator/run/aggregator.js";
import type { GivenSettings } from "../../../aggregator/settings.js";
import { fedavg } from "../../../runtime/algorithms/fedavg.js";
import { codecNamed } from "../../../runtime/codecs/built-in.js";
import { sha256Hex } from "../../../runtime/platform/node-sha256.js";
import { federation, tinyModel } from "./federation.js";
import { readBlob, updateFor, type Message } from "./raw-client.js";

const MEMBERS = 11;

/** Nine members move every weight by about 1, two by -500. */
async function roundOf(settings: GivenSettings): Promise<{ moved: number[]; status: string }> {
  const f = await federation({
    rounds: 1,
    gather: MEMBERS,
    minimum: MEMBERS,
    quorum: 1,
    ...settings,
  });
  try {
    const clients = await Promise.all(
      Array.from({ length: MEMBERS }, (_, i) => f.client(`member-${i}`)),
    );
    const sends = (i: number) => (_: Message, model: Uint8Array) =>
      updateFor(model, () => (i < 2 ? -500 : 1 + i / 64));
    await Promise.all(clients.map((client, i) => client.work(sends(i))));
    const { model } = await f.aggregator.done;
    const moved = readBlob(model)
      .filter(({ name }) => name === "0.kernel")
      .flatMap(({ data }) => [...data].map((w, i) => w - i / 8));
    return { moved, status: f.aggregator.status().bears };
  } finally {
    await f.end();
  }
}

for (const { name } of RULES)
  test(`${name}: over sockets, two of eleven members are hostile`, async () => {
    const told = name === "mean" || name === "norm-filter" ? {} : { hostile: 2 };
    const numbers = name === "centred-clipping" ? { aggregateSettings: { radius: 4 } } : {};
    const { moved, status } = await roundOf({ aggregate: name, ...told, ...numbers });
    if (name === "mean") assert.ok(moved.every((x) => x < -80));
    // A clip of about the honest norm lets two of eleven pull by two elevenths of it.
    else for (const x of moved) assert.ok(x > 0.5 && x < 1.2, `${x}`);
    assert.match(status, new RegExp(`Updates are combined by ${name}`));
  });

const refused = (settings: GivenSettings, message: RegExp, code = "settings") =>
  assert.rejects(
    async () => {
      const aggregator = await Aggregator.open({ model: tinyModel(), settings });
      await aggregator.stop();
    },
    { name: "ConfigError", code, message },
  );

test("a run outside of its rule's condition is refused at its start, with the numbers", async () => {
  await refused({ aggregate: "krum" }, /"hostile" expected how many .* for krum, got nothing/);
  await refused({ aggregate: "other" }, /"aggregate" expected mean, .*, got "other"/);
  await refused({ hostile: 1 }, /"hostile" expected 0 for mean, which bears none, got 1/);
  // ceil(0.8 x 8) = 7 updates are enough for krum with two, and for bulyan with one.
  const eight = { minimum: 8, quorum: 0.8 };
  await refused(
    { ...eight, aggregate: "krum", hostile: 3 },
    /at most 2 for krum where a round may be committed with 7 updates .*, since 3 hostile need 9 \(n >= 2f \+ 3\), got 3/,
  );
  await refused(
    { ...eight, aggregate: "bulyan", hostile: 2 },
    /at most 1 for bulyan .*7 updates .*2 hostile need 11 \(n >= 4f \+ 3\), got 2/,
  );
  await refused(
    { ...eight, aggregate: "median", hostile: 2, bucket: 2 },
    /at most 1 for median .* 2 hostile need 9 \(n >= 2f \+ 1, of means of 2\), got 2/,
  );
  for (const aggregate of ["krum", "multi-krum"]) {
    const open = { ...eight, aggregate, hostile: 2 };
    await (await Aggregator.open({ model: tinyModel(), settings: open })).stop();
  }
});

test("what does not go with a rule is refused by name", async () => {
  const median = { aggregate: "median" };
  for (const algorithm of ["feddyn", "scaffold", "feddc", "fedspeed"])
    await refused({ ...median, algorithm }, /whose server keeps the sum/, "client-state");
  await refused({ ...median, mode: "buffered" }, /buffered rounds, which the fastest clients fill/);
  await refused({ ...median, clipUpdateNorm: 1 }, /"clipUpdateNorm" expected 0 beside median/);
  // Coarse codecs want an algorithm whose server keeps a sum, or a step of the server's.
  await refused({ ...median, algorithm: "memory", codec: "topk" }, /server keeps/, "client-state");
  const scaled = {
    codec: "randk",
    codecSettings: { scaled: 1 },
    algorithm: "fedavgm",
    algorithmSettings: { serverLearningRate: 0.0005 },
  };
  await refused({ ...median, ...scaled }, /"codec" expected float32, .* beside median/);
  await refused({ bucket: 2 }, /"bucket" expected another rule than the mean/);
  await refused({ ...median, aggregateSettings: { radius: 1 } }, /expected weighted for median/);
  await refused({ ...median, aggregateSettings: { weighted: 2 } }, /"weighted" expected 0 or 1/);
  await refused(
    { aggregate: "multi-krum", hostile: 1, minimum: 6, quorum: 1, aggregateSettings: { keep: 4 } },
    /1 hostile need 7/,
  );
  for (const algorithm of ["fedavg", "fedprox", "fedsam", "fedasam", "fedadam"])
    await (
      await Aggregator.open({ model: tinyModel(), settings: { ...median, algorithm } })
    ).stop();
  const streams = { aggregate: "centred-clipping", aggregateSettings: { radius: 1 } };
  const settings: GivenSettings = { ...streams, mode: "buffered" };
  await (await Aggregator.open({ model: tinyModel(), settings })).stop();
});

test("a run whose updates do not fit into its memory is refused, and a round takes no more than fit", async () => {
  // 15 numbers, 60 bytes an update.
  const settings = { aggregate: "median", aggregateBytes: 60 * 9, minimum: 5 };
  await refused(
    { ...settings, clientsPerRound: 10 },
    /"aggregateBytes" expected at least 600 bytes for 10 updates of 60 bytes, .* median .*, got 540/,
  );
  const f = await federation({ ...settings, gather: MEMBERS, rounds: 1 });
  try {
    let goal = 0;
    f.aggregator.on("opened", (attempt) => (goal = attempt.goal));
    const clients = await Promise.all(
      Array.from({ length: MEMBERS }, (_, i) => f.client(`member-${i}`)),
    );
    const ones = (_: Message, model: Uint8Array) => updateFor(model, () => 1);
    await Promise.all(clients.map((client) => client.work(ones)));
    assert.equal((await f.aggregator.done).reason, "finished");
    assert.equal(goal, 9);
  } finally {
    await f.end();
  }
});

test("centred clipping goes on from the last round's outcome, also after a restart", async () => {
  const { layout, weights } = tinyModel();
  const form = codecNamed("float32").form(layout, ["delta"]);
  const open = () =>
    openReducer(
      {
        algorithm: "fedavg",
        algorithmSettings: {},
        codec: "float32",
        codecSettings: {},
        modelCodec: "float32",
        layout,
        maxAbs: 1024,
        maxNorm: Infinity,
        clipUpdateNorm: Infinity,
        rule: {
          rule: "centred-clipping",
          hostile: 1,
          numbers: { radius: 1 },
          bucket: 1,
          seed: "1",
        },
      },
      plain,
    );
  type Reducer = ReturnType<typeof open>;
  async function round(reducer: Reducer, number: number, model: Uint8Array) {
    await reducer.openFold({ round: number, attempt: 1, updates: 3, samples: 9, staleness: 0 });
    for (const [i, value] of [1, 1.5, -70].entries()) {
      const bytes = form.encode({ delta: new Float32Array(layout.size).fill(value) });
      assert.equal(
        await reducer.check(`${i}`, sha256Hex(bytes), bytes, {
          work: "",
          samples: 1,
          fromHalf: false,
        }),
        undefined,
      );
      await reducer.fold(`${i}`, `client-${i}`, 9, 0);
    }
    return reducer.finish(Uint8Array.from(model), 3);
  }
  const first = firstCheckpoint(fedavg, {}, layout, {}, weights);
  const steady = open();
  await steady.load(first.state.bytes);
  const one = await round(steady, 1, first.model.bytes);
  const [state, model] = [one.state.bytes.slice(), one.model.bytes.slice()];
  const two = await round(steady, 2, model);
  const restarted = open();
  await restarted.load(state);
  const again = await round(restarted, 2, model);
  assert.deepEqual(again.model, two.model);
  assert.deepEqual(again.state, two.state);
  // One that has forgotten starts from zero, and ends elsewhere.
  const forgetful = open();
  await forgetful.load(first.state.bytes);
  assert.notEqual((await round(forgetful, 2, model)).model.sha256, two.model.sha256);
});
