import assert from "node:assert/strict";
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, statSync } from "node:fs";
import * as fs from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { federation } from "../aggregator/run/federation.js";
import type { Told } from "./client-process.js";

const script = fileURLToPath(new URL("client-process.js", import.meta.url));
const folder = await fs.mkdtemp(join(tmpdir(), "fedflat-killed-"));
const alive = new Set<ChildProcess>();
after(async () => {
  for (const child of alive) child.kill("SIGKILL");
  await fs.rm(folder, { recursive: true, force: true });
});

interface Life {
  readonly child: ChildProcess;
  readonly told: Told[];
  readonly ended: Promise<unknown>;
}

function live(url: string, state: string, hears?: (told: Told, life: Life) => void): Life {
  const child = fork(script, [url, state]);
  alive.add(child);
  const ended = once(child, "exit").then(() => alive.delete(child));
  const life: Life = { child, told: [], ended };
  child.on("message", (message) => {
    life.told.push(message as Told);
    hears?.(message as Told, life);
  });
  return life;
}

/** One client, as `lives` runs it, and two rounds of an algorithm with state. */
async function runWith(
  name: string,
  lives: (url: string, state: string) => Promise<unknown>,
): Promise<Uint8Array> {
  const there = await federation({
    algorithm: "feddyn",
    rounds: 2,
    localEpochs: 2000,
    batchSize: 8,
    deadline: 120_000,
    absence: 60_000,
  });
  after(() => there.end());
  await lives(there.url, join(folder, name));
  const { reason, rounds, model } = await there.aggregator.done;
  assert.deepEqual([reason, rounds], ["finished", 2]);
  await there.end();
  return model;
}

test("a client killed in the middle of a round goes on where it was, and the model is the undisturbed one", async () => {
  const undisturbed = await runWith("undisturbed", (url, state) => live(url, state).ended);
  const killed = await runWith("killed", async (url, state) => {
    const snapshot = join(state, "half-trained");
    let looking: NodeJS.Timeout | undefined;
    const first = live(url, state, (told, { child }) => {
      if (!("progress" in told) || told.progress.round !== 2) return;
      const began = Date.now();
      looking ??= setInterval(() => {
        const { mtimeMs } = statSync(snapshot, { throwIfNoEntry: false }) ?? {};
        if (mtimeMs !== undefined && mtimeMs > began) child.kill("SIGKILL");
      }, 5);
    });
    await first.ended;
    clearInterval(looking);
    const rounds = first.told.flatMap((told) =>
      "assignment" in told && told.assignment.what === "offered" ? [told.assignment.round] : [],
    );
    assert.deepEqual(rounds, [1], "it was killed in round 2");
    const second = live(url, state);
    await second.ended;
    const whats = second.told.flatMap((told) =>
      "assignment" in told ? [told.assignment.what] : [],
    );
    assert.deepEqual(whats, ["accepted", "resumed", "offered", "received", "committed"]);
    const [batch] = second.told.flatMap((told) =>
      "progress" in told ? [told.progress.batch] : [],
    );
    assert.ok(batch > 1, `the first batch after the restart is ${batch}`);
    for (const { told } of [first, second])
      for (const one of told) if ("problem" in one) assert.fail(one.problem);
    assert.ok(!existsSync(snapshot), "nothing half-trained is left");
  });
  assert.deepEqual(killed, undisturbed);
});
