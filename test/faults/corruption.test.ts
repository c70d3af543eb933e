import assert from "node:assert/strict";
import { before, test } from "node:test";
import { fileLedger } from "../../aggregator/storage/files.js";
import type { Opened } from "../../aggregator/storage/ledger.js";
import { ConfigError } from "../../runtime/errors.js";
import { random } from "../../runtime/tensors/random.js";
import { FOLDER, stateFolderAfter } from "./crash-points.js";
import { simulatedDisk } from "./disk.js";

// Every byte with FEDFLAT_OFFSETS=Infinity (npm run crash); here a sample of the large file's, and
// every byte of the small ones.
const OFFSETS = Number(process.env["FEDFLAT_OFFSETS"] ?? 400);

let files: ReadonlyMap<string, Uint8Array>;
let whole: Opened;
before(async () => {
  files = await stateFolderAfter({ rounds: 6 });
  whole = (await open(files)) as Opened;
});

const none = { sha256: "", bytes: new Uint8Array() };

/** What the next server finds, or the sentence with which it refuses to start. */
async function open(image: ReadonlyMap<string, Uint8Array>): Promise<Opened | string> {
  try {
    return await fileLedger(FOLDER, simulatedDisk(image)).open({
      model: none,
      state: none,
    });
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    assert.equal(error.code, "state-damaged");
    return error.message;
  }
}

/**
 * Opens the folder with one file changed. What is used must be a checkpoint of the run, to the
 * byte.
 */
async function openWith(path: string, bytes: Uint8Array): Promise<Opened | string> {
  const opened = await open(new Map(files).set(path, bytes));
  if (typeof opened === "string") return opened;
  const { round, model, state } = opened.last.record;
  assert.deepEqual(opened.last.record, whole.history[round]);
  for (const [blob, name] of [
    [opened.last.model, model],
    [opened.last.state, state],
  ] as const)
    assert.deepEqual(Buffer.from(blob.bytes), Buffer.from(files.get(`${FOLDER}/blobs/${name}`)!));
  assert.deepEqual(
    opened.history,
    whole.history.slice(0, round + 1),
    "the history is that of the run up to there",
  );
  return opened;
}

function offsetsOf(length: number): number[] {
  const all = Uint32Array.from({ length }, (_, i) => i);
  return [...(length <= OFFSETS ? all : random("offsets").shuffle(all))].slice(0, OFFSETS);
}

const journal = `${FOLDER}/journal`;

test("a bit flipped anywhere in the journal is noticed, and never a wrong model used", async () => {
  const bytes = files.get(journal)!;
  for (const at of offsetsOf(bytes.length)) {
    const changed = Uint8Array.from(bytes);
    changed[at] ^= 1 << (at % 8);
    const opened = await openWith(journal, changed);
    assert.ok(
      typeof opened === "string" || opened.notes.length > 0,
      `the flip at byte ${at} was not noticed`,
    );
  }
});

test("a journal cut off anywhere: the checkpoint before the cut, or a sentence", async () => {
  const bytes = files.get(journal)!;
  let started = 0;
  for (const length of offsetsOf(bytes.length)) {
    const opened = await openWith(journal, bytes.subarray(0, length));
    if (typeof opened === "string") continue;
    started++;
    // Between two records a cut looks like a crash before the record; a checkpoint that is lost
    // with it is named.
    assert.ok(
      opened.last.record.round === whole.last.record.round || opened.notes.length > 0,
      `the cut at byte ${length} was not noticed`,
    );
  }
  assert.ok(started > 0);
});

for (const [what, damage] of [
  [
    "flipped",
    (bytes: Uint8Array, at: number) => {
      const changed = Uint8Array.from(bytes);
      changed[at] ^= 1 << (at % 8);
      return changed;
    },
  ],
  ["cut", (bytes: Uint8Array, at: number) => bytes.subarray(0, at)],
] as const)
  test(`the newest checkpoint ${what} at any byte: the one before it is used, saying so`, async () => {
    const { model, state } = whole.last.record;
    for (const name of [model, state]) {
      const path = `${FOLDER}/blobs/${name}`;
      const bytes = files.get(path)!;
      for (const at of offsetsOf(bytes.length)) {
        const opened = await openWith(path, damage(bytes, at));
        assert.ok(typeof opened !== "string");
        assert.equal(opened.last.record.round, whole.last.record.round - 1);
        assert.match(opened.notes.join(), /checkpoint of round 6 is damaged/);
      }
    }
  });

test("every checkpoint damaged, the journal whole: refused with a sentence", async () => {
  const image = new Map(files);
  for (const [path, bytes] of files)
    if (path.includes("/blobs/")) image.set(path, bytes.subarray(1));
  assert.match(String(await open(image)), /expected at least one sound checkpoint, got none/);
});

test("the journal gone, its checkpoints there: refused, for a new run would bury them", async () => {
  const image = new Map(files);
  image.delete(journal);
  assert.match(String(await open(image)), /expected the journal of the \d+ blobs/);
});

test("damage in any file that is not read does no harm", async () => {
  for (const path of files.keys()) {
    const { model, state } = whole.last.record;
    if (path === journal || path.endsWith(model) || path.endsWith(state)) continue;
    const opened = await openWith(path, new Uint8Array([1, 2, 3]));
    assert.ok(typeof opened !== "string");
    assert.equal(opened.last.record.round, whole.last.record.round);
  }
});
