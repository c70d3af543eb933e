import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Aggregator } from "../../../aggregator/run/aggregator.js";
import { openReducerInWorker } from "../../../aggregator/aggregation/reducer-in-worker.js";
import { memoryLedger } from "../../../aggregator/storage/memory.js";
import type { Algorithm } from "../../../runtime/algorithms/algorithm.js";
import { scaffold } from "../../../runtime/algorithms/scaffold.js";
import { FedflatError } from "../../../runtime/errors.js";
import { federation, logged, tinyModel } from "./federation.js";
import { updateFor } from "./raw-client.js";

const ones = (_: unknown, model: Uint8Array) => updateFor(model, () => 1);

test("a full disk pauses the round, and the run goes on when there is room", async () => {
  const ledger = memoryLedger();
  const { commit } = ledger;
  let full = 2;
  ledger.commit = async (...args) => {
    if (full-- > 0) throw new FedflatError("storage-full", "no room");
    return commit(...args);
  };
  const f = await federation({ rounds: 1, pause: 30 }, { ledger });
  try {
    const sentences: string[] = [];
    f.aggregator.on("waiting", (sentence) => sentences.push(sentence));
    const client = await f.client("a");
    await client.work(ones);
    assert.equal((await f.aggregator.done).reason, "finished");
    assert.ok(sentences.includes("Round 1 waits for the storage to take the new model: no room."));
    assert.ok(logged(f, /the disk is full: rounds pause/));
  } finally {
    await f.end();
  }
});

test("a run that waits for room on a full disk can be stopped", async () => {
  const ledger = memoryLedger();
  ledger.commit = async () => {
    throw new FedflatError("storage-full", "no room");
  };
  const f = await federation({ rounds: 1, pause: 30 }, { ledger });
  try {
    const waits = new Promise<void>((resolve) => {
      f.aggregator.on("waiting", (sentence) => {
        if (/no room/.test(sentence)) resolve();
      });
    });
    const client = await f.client("a");
    const working = client.work(ones).catch(() => {});
    await waits;
    await f.aggregator.stop();
    assert.equal((await f.aggregator.done).rounds, 0);
    await working;
  } finally {
    await f.end();
  }
});

test("a storage that fails ends the run with the last committed model, and nobody is told committed", async () => {
  const ledger = memoryLedger();
  ledger.commit = async () => {
    throw new FedflatError("storage-failed", "the disk is gone");
  };
  const f = await federation({ rounds: 1 }, { ledger });
  try {
    const client = await f.client("a");
    client.send({ type: "ready" });
    const { assignment, model } = await client.next("assign");
    const answer = await client.deliver(assignment, ones(0, await client.fetch(model)));
    assert.equal(answer.type, "received");
    const ending = await f.aggregator.done;
    assert.deepEqual(
      [ending.reason, ending.message, ending.rounds],
      ["failed", "the disk is gone", 0],
    );
    assert.equal(f.aggregator.model.sha256, model.sha256);
    assert.ok(!client.messages.some(({ type }) => type === "committed"));
  } finally {
    await f.end();
  }
});

test("a listener that throws costs no round", async () => {
  const f = await federation({ rounds: 1 });
  try {
    f.aggregator.on("counted", () => {
      throw new Error("a mistake of the host's");
    });
    const client = await f.client("a");
    await client.work(ones);
    assert.equal((await f.aggregator.done).reason, "finished");
    assert.ok(logged(f, /a listener of "counted" threw/));
  } finally {
    await f.end();
  }
});

test("an evaluation that fails costs no round", async () => {
  const f = await federation(
    { rounds: 2 },
    {
      evaluate: async () => {
        throw new Error("no test data after all");
      },
    },
  );
  try {
    const client = await f.client("a");
    await client.work(ones);
    assert.equal((await f.aggregator.done).rounds, 2);
    assert.ok(logged(f, /the evaluation failed/));
  } finally {
    await f.end();
  }
});

test("a folding worker that ends rejects every call with a sentence", async () => {
  const { layout } = tinyModel();
  const reducer = await openReducerInWorker({
    algorithm: "fedavg",
    algorithmSettings: {},
    codec: "float32",
    codecSettings: {},
    modelCodec: "float32",
    layout,
    maxAbs: 1,
    maxNorm: Infinity,
    clipUpdateNorm: Infinity,
    rule: { rule: "mean", hostile: 0, numbers: {}, bucket: 1, seed: "1" },
  });
  await assert.rejects(reducer.finish(new Uint8Array(8), 1), {
    code: "desk",
    message: "no fold is open",
  });
  const waiting = reducer.openFold({
    ...{ round: 1, attempt: 1, updates: 1, samples: 1, staleness: 0 },
  });
  await reducer.close();
  await waiting.catch((error: FedflatError) => assert.equal(error.code, "desk"));
  await assert.rejects(reducer.drop("x"), { code: "desk" });
});

test("a folder that holds a run, one that holds none, and another model are refused with a sentence", async () => {
  const folder = await mkdtemp(join(tmpdir(), "fedflat-run-"));
  const open = (change: object) => Aggregator.open({ model: tinyModel(), folder, ...change });
  try {
    await assert.rejects(open({ resume: true }), {
      name: "ConfigError",
      code: "nothing-to-resume",
    });
    const first = await open({});
    await assert.rejects(open({ resume: true }), {
      code: "state-locked",
    });
    await first.stop();
    await assert.rejects(open({}), { code: "run-exists" });
    await assert.rejects(open({ resume: true, model: tinyModel(4) }), {
      code: "resume",
      message: /expected the model that the run was begun with/,
    });
    const again = await open({ resume: true });
    await again.stop();
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("a run whose server kept its state under other names is refused with a sentence", async () => {
  const ledger = memoryLedger();
  const before: Algorithm = {
    ...scaffold,
    server: {
      ...scaffold.server,
      state: { control: () => 0 },
      broadcast: ({ control }) => ({ control }),
    },
  };
  const first = await Aggregator.open({
    model: tinyModel(),
    ledger,
    algorithm: before,
  });
  await first.stop();
  const settings = { algorithm: "scaffold" };
  await assert.rejects(Aggregator.open({ model: tinyModel(), ledger, settings }), {
    code: "state",
    message:
      /"controlSum" expected \d+ float64 numbers .*, got none; a run that another version of .* began cannot be resumed/,
  });
});

test("a folder that cannot be made is refused with a sentence", async () => {
  // A file where a folder should be, and a file system that has no room for names of ours.
  for (const folder of [import.meta.filename ?? "/dev/null", "/proc/x"])
    await assert.rejects(Aggregator.open({ model: tinyModel(), folder }), {
      name: "ConfigError",
      code: "state-unusable",
      message: /^"[^"]+" expected a folder that can be written, got [a-z ]+$/,
    });
});

test("settings out of bounds, and unknown ones, are refused by name", async () => {
  const opened = (settings: object) => Aggregator.open({ model: tinyModel(), settings });
  await assert.rejects(opened({ quorum: 2 }), {
    name: "ConfigError",
    message: /"settings.quorum" expected at most 1, got 2/,
  });
  await assert.rejects(opened({ quorom: 1 }), { message: /"settings.quorom"/ });
  await assert.rejects(opened({ algorithm: "fedmagic" }), {
    code: "unknown-algorithm",
  });
  await assert.rejects(opened({ algorithm: "feddyn", clipUpdateNorm: 1 }), {
    code: "client-state",
    message: /expected an algorithm whose clients keep no state, got feddyn/,
  });
  await assert.rejects(opened({ algorithmSettings: { mu: 1 } }), {
    code: "algorithm-settings",
  });
});

test("an aggregator can be stopped as soon as it is open, and twice", async () => {
  const aggregator = await Aggregator.open({ model: tinyModel() });
  await Promise.all([aggregator.stop(), aggregator.stop()]);
  await aggregator.stop();
});
