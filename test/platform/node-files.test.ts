import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import * as fs from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Worker } from "node:worker_threads";
import { fileLedger } from "../../aggregator/storage/files.js";
import {
  lock,
  nodeFiles,
  tolerant,
  writeWhole,
  type FileLayer,
} from "../../runtime/platform/node-files.js";
import { openStateFolder } from "../../runtime/platform/node-state.js";

const bytes = (text: string) => new TextEncoder().encode(text);
const refusal = (pid: number) => `taken by ${pid}`;

async function folder(): Promise<string> {
  const path = await fs.mkdtemp(join(tmpdir(), "fedflat-files-"));
  after(() => fs.rm(path, { recursive: true, force: true }));
  return path;
}

const failure = (code: string) => Object.assign(new Error(`${code}: injected`), { code });

/** Node's files, tolerant of what `faults` throw; with the sentences that were noted. */
function faulty(faults: Partial<FileLayer>) {
  const notes: string[] = [];
  return { notes, files: tolerant({ ...nodeFiles, ...faults }, (note) => notes.push(note)) };
}

for (const code of ["EPERM", "EACCES", "EBUSY"])
  test(`a rename or removal that another program holds up (${code}) is tried again`, async () => {
    const path = await folder();
    let calls = 0;
    const everyOther = () => {
      if (++calls % 2 === 1) throw failure(code);
    };
    const { files } = faulty({
      rename: async (from, to) => (everyOther(), nodeFiles.rename(from, to)),
      remove: async (place) => (everyOther(), nodeFiles.remove(place)),
    });
    for (const text of ["one", "two"]) await writeWhole(files, path, "file", bytes(text));
    assert.equal(await fs.readFile(join(path, "file"), "utf8"), "two");
    await files.remove(join(path, "file"));
    assert.deepEqual(await fs.readdir(path), []);
    assert.equal(calls, 6);
  });

test("a rename that is refused for good fails after a second or so, and leaves the old file alone", async () => {
  const path = await folder();
  await writeWhole(nodeFiles, path, "file", bytes("old"));
  let calls = 0;
  const { files } = faulty({
    async rename() {
      calls++;
      throw failure("EPERM");
    },
  });
  await assert.rejects(writeWhole(files, path, "file", bytes("new")), { code: "EPERM" });
  assert.equal(calls, 8);
  assert.deepEqual(await fs.readdir(path), ["file"]);
  assert.equal(await fs.readFile(join(path, "file"), "utf8"), "old");
});

test("other failures of a rename are not tried again", async () => {
  const path = await folder();
  let calls = 0;
  const { files } = faulty({
    async rename() {
      calls++;
      throw failure("EIO");
    },
  });
  await assert.rejects(writeWhole(files, path, "file", bytes("new")), { code: "EIO" });
  assert.equal(calls, 1);
});

test("a folder that cannot be synced is noted once and passed over; a disk that fails is not", async () => {
  const path = await folder();
  for (const code of ["EINVAL", "ENOTSUP", "EBADF"]) {
    const { files, notes } = faulty({
      async syncFolder() {
        throw failure(code);
      },
    });
    const store = await openStateFolder(path, files);
    await store.put("a", bytes("one"));
    await store.put("a", bytes("two"));
    assert.deepEqual(await store.get("a"), bytes("two"));
    await store.close();
    assert.equal(notes.length, 1);
    assert.match(notes[0], /cannot sync folders/);
  }
  const { files, notes } = faulty({
    async syncFolder() {
      throw failure("EIO");
    },
  });
  await assert.rejects(writeWhole(files, path, "b", bytes("")), { code: "EIO" });
  assert.deepEqual(notes, []);
});

/** Threads that each lock a folder when told to, and say how it went. */
function starters(count: number, path: string) {
  const module = new URL("../../runtime/platform/node-files.js", import.meta.url).href;
  const threads = Array.from(
    { length: count },
    () =>
      new Worker(
        `const { parentPort } = require("node:worker_threads");
         import(${JSON.stringify(module)}).then(({ lock, nodeFiles }) => {
           let unlock;
           parentPort.on("message", async (what) => {
             if (what === "unlock") await unlock?.();
             unlock = undefined;
             if (what === "lock")
               unlock = await lock(nodeFiles, ${JSON.stringify(path)}, (pid) => "taken by " + pid)
                 .catch((error) => void parentPort.postMessage(error.message));
             if (what === "unlock" || unlock) parentPort.postMessage(what);
           });
         });`,
        { eval: true },
      ),
  );
  after(() => Promise.all(threads.map((thread) => thread.terminate())));
  return (what: "lock" | "unlock") =>
    Promise.all(
      threads.map((thread) => {
        const answer = new Promise<string>((resolve) => thread.once("message", resolve));
        thread.postMessage(what);
        return answer;
      }),
    );
}

test("of many that lock a folder at one time, after a crash, one gets it", async () => {
  const path = await folder();
  const tell = starters(4, path);
  const taken = `taken by ${process.pid}`;
  for (const left of ["", "999999999 another life\n", `${process.pid} another life`, "nonsense"]) {
    await fs.writeFile(join(path, "lock"), left);
    assert.deepEqual((await tell("lock")).sort(), ["lock", taken, taken, taken], left);
    await assert.rejects(lock(nodeFiles, path, refusal), { code: "state-locked" });
    await tell("unlock");
    assert.deepEqual(await fs.readdir(path), []);
  }
});

test("a folder is locked once by a thread, under any of its names", async () => {
  const path = await folder();
  const unlock = await lock(nodeFiles, path, refusal);
  await assert.rejects(lock(nodeFiles, `${path}/../${basename(path)}/`, refusal), {
    code: "state-locked",
    message: `taken by ${process.pid}`,
  });
  await unlock();
  await (
    await lock(nodeFiles, path, refusal)
  )();
});

test("what a crash left while it took a lock over is no obstacle", async () => {
  const path = await folder();
  for (const name of ["lock", "lock.taking.tmp"])
    await fs.writeFile(join(path, name), "999999999 another life\n");
  await (
    await lock(nodeFiles, path, refusal)
  )();
  assert.deepEqual(await fs.readdir(path), []);
});

test("a file where the folder should be is refused", async () => {
  const path = await folder();
  await fs.writeFile(join(path, "file"), "");
  await assert.rejects(nodeFiles.makeFolder(join(path, "file")), { code: "EEXIST" });
  await assert.rejects(nodeFiles.makeFolder(join(path, "file", "below")), { code: "ENOTDIR" });
});

/** The library whose faults a process gets by LD_PRELOAD; nothing where it cannot be made. */
const faultyLibc = async (): Promise<string | undefined> => {
  if (process.platform !== "linux") return undefined;
  const library = join(await folder(), "faulty-libc.so");
  const source = fileURLToPath(new URL("../../../test/platform/faulty-libc.c", import.meta.url));
  try {
    await promisify(execFile)("gcc", ["-shared", "-fPIC", "-o", library, source, "-ldl"]);
    return library;
  } catch {
    return undefined;
  }
};

const library = await faultyLibc();
const skip = library === undefined && "gcc, or Linux, is not here";

/** Opens, writes, closes and opens again a client's store and a ledger, in a process of its own. */
const WORK = `
const { openStateFolder } = await import(process.env.STATE);
const { fileLedger } = await import(process.env.LEDGER);
const { createHash } = await import("node:crypto");
const [path] = process.argv.slice(1);
for (const text of ["one", "two", "three"]) {
  const store = await openStateFolder(path + "/state");
  await store.put("a", new TextEncoder().encode(text));
  await store.put("a", new TextEncoder().encode(text));
  await store.close();
}
const blob = (text) => {
  const bytes = new TextEncoder().encode(text);
  return { sha256: createHash("sha256").update(bytes).digest("hex"), bytes };
};
for (let life = 0; life < 3; life++) {
  const ledger = fileLedger(path + "/ledger");
  const { epoch, last } = await ledger.open({ model: blob("model"), state: blob("state") });
  const round = last.record.round + 1, model = blob("model " + round), state = blob("state " + round);
  await ledger.commit(epoch, { round, attempt: 1, model: model.sha256, state: state.sha256, members: [], line: { round } }, { model, state });
  await ledger.close();
}
console.log("done");
`;

for (const [fault, says] of [
  ["nolink", /^$/],
  [
    "nodirsync",
    /^[^\n]*FEDFLAT_FOLDER_SYNC[^\n]*cannot sync folders[^\n]*\n[^\n]*--trace-warnings[^\n]*\n$/,
  ],
  ["flaky", /^$/],
] as const)
  test(`a file system with "${fault}" holds a client's state and a ledger`, { skip }, async () => {
    const path = await folder();
    const child = spawn(process.execPath, ["--input-type=module", "-e", WORK, path], {
      env: {
        ...process.env,
        LD_PRELOAD: library,
        FAULT: fault,
        STATE: new URL("../../runtime/platform/node-state.js", import.meta.url).href,
        LEDGER: new URL("../../aggregator/storage/files.js", import.meta.url).href,
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let said = "";
    let complaint = "";
    child.stdout.on("data", (text) => (said += text));
    child.stderr.on("data", (text) => (complaint += text));
    await new Promise((resolve) => child.once("close", resolve));
    assert.match(complaint, says);
    assert.equal(said, "done\n");
    const ledger = fileLedger(join(path, "ledger"));
    const nothing = { sha256: "", bytes: new Uint8Array() };
    const { last, notes } = await ledger.open({ model: nothing, state: nothing });
    await ledger.close();
    assert.deepEqual([last.record.round, notes], [3, []]);
  });
