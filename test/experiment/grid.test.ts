import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { readExperiment } from "../../cli/experiment/file.js";
import { cellsOf } from "../../cli/experiment/grid.js";
import { inLanes } from "../../cli/experiment/pool.js";
import { ConfigError } from "../../runtime/errors.js";
import { slowly } from "../until.js";

const folder = mkdtempSync(join(tmpdir(), "fedflat-grid-"));
after(() => rmSync(folder, { recursive: true }));

function written(content: unknown, name = "experiment.json"): string {
  const path = join(folder, name);
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
}

async function cells(content: unknown, name?: string) {
  const path = written(content, name);
  return cellsOf(await readExperiment(path), path);
}

const refuses = (content: unknown, message: RegExp) =>
  assert.rejects(
    cells(content),
    (error: Error) =>
      error instanceof ConfigError &&
      error.code === "usage" &&
      message.test(error.message) &&
      !error.message.includes("\n"),
    `expected ${message}`,
  );

const settings = { data: "d", rounds: 3 };

test("a cell for each combination, each algorithm with its own numbers", async () => {
  const all = await cells({
    settings,
    grid: {
      algorithm: ["fedavg", "feddyn"],
      zeta: [0, 0.15],
      split: ["iid", "dirichlet:0.3"],
      seed: [1, 2, 3],
    },
    set: { feddyn: { alpha: 0.02 } },
  });
  assert.equal(all.length, 24);
  assert.equal(new Set(all.map(({ name }) => name)).size, 24);
  assert.deepEqual(all[0].at, {
    algorithm: "fedavg",
    zeta: 0,
    split: "iid",
    seed: 1,
  });
  assert.deepEqual(all[0].settings.set, {});
  assert.deepEqual(all[23].settings.set, { alpha: 0.02 });
  assert.equal(all[23].settings.zeta, 0.15);
  assert.equal(all[23].settings.rounds, 3);
  assert.match(all[23].name, /^feddyn_zeta-0.15_split-dirichlet-0.3_seed-3_/);
});

test("variants are an axis of named methods, each with its settings before the grid's", async () => {
  const all = await cells({
    settings,
    variants: { plain: {}, Ditto: { algorithm: "ditto", "hold-out": 0.2 } },
    grid: { seed: [1, 2] },
    set: { ditto: { lambda: 0.5 } },
  });
  assert.deepEqual(
    all.map(({ algorithm, at, settings: { seed, set, holdOut } }) => [
      ...[algorithm, at["variant"], seed],
      ...[set, holdOut],
    ]),
    [
      ["plain", "plain", 1, {}, undefined],
      ["plain", "plain", 2, {}, undefined],
      ["Ditto", "Ditto", 1, { lambda: 0.5 }, 0.2],
      ["Ditto", "Ditto", 2, { lambda: 0.5 }, 0.2],
    ],
  );
  await refuses(
    { settings, variants: { one: { seed: 1 } }, grid: { seed: [1, 2] } },
    /"seed" .* expected to stand in variants or in grid, got both/,
  );
  await refuses({ settings, variants: { one: { run: "x" } }, grid: {} }, /"run" .* expected to be/);
});

test("YAML says the same as JSON, and a path with a dot is one beside the file", async () => {
  const [cell] = await cells(
    "settings:\n  data: ./images\n  algorithm: ./mine.js\ngrid:\n  seed: [7]\nset:\n  ./mine.js: { beta: 2 }\n",
    "experiment.yaml",
  );
  assert.equal(cell.settings.data, join(folder, "images"));
  assert.equal(cell.settings.algorithm, join(folder, "mine.js"));
  assert.deepEqual(cell.settings.set, { beta: 2 });
  assert.equal(cell.settings.seed, 7);
});

test("another setting gives another folder; the same settings the same one", async () => {
  const grid = { seed: [1] };
  const [first] = await cells({ settings, grid });
  const [same] = await cells({ grid, settings: { rounds: 3, data: "d" } });
  const [other] = await cells({ settings: { ...settings, rounds: 4 }, grid });
  assert.equal(first.name, same.name);
  assert.notEqual(first.name, other.name);
});

test("what is wrong in the file is said by name, in one sentence", async () => {
  const grid = { seed: [1] };
  await refuses("{", /"experiment.json|expected JSON or YAML/);
  await refuses("just text", /expected an object with title/);
  await refuses({ settings }, /"grid" in ".*" expected to be there, got/);
  await refuses({ settings, grid, roundz: 1 }, /"roundz" in .* no such key/);
  await refuses({ settings, grid: { seed: [] } }, /"grid.seed".*at least one/);
  await refuses({ settings, grid: { seed: [1, 1] } }, /values that differ/);
  await refuses({ settings, grid: { zeta: [-1] } }, /"zeta" in .* from 0/);
  await refuses({ settings, grid: { zetas: [0] } }, /got "zetas" \(did you mean "zeta"\?\)/);
  await refuses({ settings, grid: { rounds: [1] } }, /"rounds".*both/);
  await refuses({ settings, grid: { run: ["x"] } }, /left to the experiment/);
  await refuses(
    { settings, grid: { algorithm: ["fedavgg"] } },
    /"algorithm" in .* expected one of fedavg/,
  );
  await refuses(
    { settings, grid, set: { feddyn: { alpha: 1 } } },
    /"set.feddyn" in .* expected one of the algorithms/,
  );
  await assert.rejects(readExperiment(join(folder, "absent")), /a file that can be read/);
});

test("lanes do all tasks, a failing one leaves the others going", async () => {
  const done: number[] = [];
  let busy = 0;
  const failed = await inLanes(
    [0, 1, 2, 3, 4, 5],
    2,
    new AbortController().signal,
    async (task) => {
      assert.ok(++busy <= 2);
      await slowly(3);
      busy--;
      if (task === 2) throw new Error("two");
      done.push(task);
    },
  );
  assert.deepEqual(done.sort(), [0, 1, 3, 4, 5]);
  assert.deepEqual(
    failed.map(({ task }) => task),
    [2],
  );
});

test("no task begins after the abort", async () => {
  const stop = new AbortController();
  const begun: number[] = [];
  await inLanes([0, 1, 2, 3], 1, stop.signal, async (task) => {
    begun.push(task);
    if (task === 1) stop.abort();
  });
  assert.deepEqual(begun, [0, 1]);
});

test("of the grid only the combinations that the file wants", async () => {
  const grid = { algorithm: ["fedavg", "memory"], codec: ["float32", "topk"], seed: [1, 2] };
  const only = [{ algorithm: "fedavg", codec: "float32" }, { codec: "topk" }];
  const all = await cells({ settings, grid, only });
  assert.deepEqual(
    all.map(({ at: { algorithm, codec, seed } }) => [algorithm, codec, seed]),
    [
      ["fedavg", "float32", 1],
      ["fedavg", "float32", 2],
      ["memory", "topk", 1],
      ["memory", "topk", 2],
    ],
  );
  await refuses({ settings, grid, only: [{ codec: "int8" }] }, /"only" in .* got "codec" int8/);
  await refuses({ settings, grid, only: [] }, /"only" in .* at least one/);
});

test("a codec has its own numbers, and pairs of algorithm and codec that no run takes are left out", async () => {
  const all = await cells({
    settings,
    grid: { algorithm: ["fedavg", "memory", "feddyn"], codec: ["int8", "topk"] },
    set: { topk: { fraction: 0.1 }, feddyn: { alpha: 0.02 } },
  });
  assert.deepEqual(
    all.map(({ at: { algorithm, codec }, settings: { set, codecSet } }) => [
      algorithm,
      codec,
      set,
      codecSet,
    ]),
    [
      ["fedavg", "int8", {}, {}],
      ["memory", "int8", {}, {}],
      ["memory", "topk", {}, { fraction: 0.1 }],
      ["feddyn", "int8", { alpha: 0.02 }, {}],
    ],
  );
  const other = { settings, grid: { codec: ["int8"] }, set: { topk: { fraction: 0.1 } } };
  await refuses(other, /"set.topk" in .* expected one of the algorithms and codecs int8/);
});
