import assert from "node:assert/strict";
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import type { GivenSettings } from "../../aggregator/settings.js";
import { parseDescription } from "../../runtime/models/description.js";
import { initialModel } from "../../runtime/models/initial.js";
import { loadModel, type Model } from "../../runtime/models/model.js";
import { readSafetensors } from "../../runtime/tensors/safetensors.js";
import type { ClientEvents } from "../../runtime/client.js";
import { federation } from "../aggregator/run/federation.js";
import type { Told } from "./client-process.js";

// What is a client's own, when its process is killed: the state of Ditto and of FedRep, and what
// `personalise` made.

const script = fileURLToPath(new URL("client-process.js", import.meta.url));
const folder = await fs.mkdtemp(join(tmpdir(), "fedflat-killed-personal-"));
const alive = new Set<ChildProcess>();
after(async () => {
  for (const child of alive) child.kill("SIGKILL");
  await fs.rm(folder, { recursive: true, force: true });
});

type Progress = ClientEvents["progress"];

interface Life {
  readonly child: ChildProcess;
  readonly told: Told[];
  readonly ended: Promise<unknown>;
}

function live(
  url: string,
  state: string,
  hears?: (told: Told, child: ChildProcess) => void,
  ...more: readonly string[]
): Life {
  const child = fork(script, [url, state, ...more]);
  alive.add(child);
  const ended = once(child, "exit").then(() => alive.delete(child));
  const life: Life = { child, told: [], ended };
  child.on("message", (message) => {
    life.told.push(message as Told);
    hears?.(message as Told, child);
  });
  return life;
}

const RUN: GivenSettings = {
  rounds: 3,
  localEpochs: 1000,
  batchSize: 8,
  learningRate: 0.01,
  deadline: 120_000,
  absence: 60_000,
};

/** What a client has of its own after a run, as `lives` runs it, and the run's model. */
async function ownAfter(
  name: string,
  given: { readonly settings: GivenSettings; readonly model?: Model },
  lives: (url: string, state: string) => Promise<unknown>,
) {
  const { settings, ...options } = given;
  const there = await federation({ ...RUN, ...settings }, options);
  after(() => there.end());
  const state = join(folder, name);
  await lives(there.url, state);
  const { reason, rounds, model } = await there.aggregator.done;
  assert.deepEqual([reason, rounds], ["finished", RUN.rounds]);
  await there.end();
  const files = (await fs.readdir(state)).filter((file) => file.startsWith("state."));
  assert.equal(files.length, 1);
  const { tensors } = readSafetensors(await fs.readFile(join(state, files[0])));
  return { model, own: new Map([...tensors].map(([name, { data }]) => [name, [...data]])) };
}

const description = parseDescription({
  input: [4],
  layers: [
    { type: "dense", units: 4, activation: "relu" },
    { type: "dense", units: 3, personal: true },
  ],
});

for (const [name, given, tensors] of [
  ["Ditto", { settings: { algorithm: "ditto" } }, ["personal/0.kernel", "personal/0.bias"]],
  [
    "FedRep",
    {
      settings: { headEpochs: 500 },
      model: initialModel({ description, classes: ["a", "b", "c"] }, "1"),
    },
    ["personal/1.kernel", "personal/1.bias"],
  ],
] as const)
  test(`${name}: a client killed in a round has its own model from before, and ends with the undisturbed one`, async () => {
    const undisturbed = await ownAfter(
      `${name}-undisturbed`,
      given,
      (url, state) => live(url, state).ended,
    );
    assert.deepEqual([...undisturbed.own.keys()], tensors);
    const killed = await ownAfter(`${name}-killed`, given, async (url, state) => {
      // Once while what is shared is trained, and once when its last batch is done.
      for (const isTime of [
        ({ batch }: Progress) => batch > 1,
        ({ batch, batches }: Progress) => batch === batches,
      ]) {
        const life = live(url, state, (told, child) => {
          if ("progress" in told && told.progress.round === 2 && isTime(told.progress))
            child.kill("SIGKILL");
        });
        await life.ended;
        assert.equal(life.child.signalCode, "SIGKILL");
        for (const one of life.told) if ("problem" in one) assert.fail(one.problem);
      }
      await live(url, state).ended;
    });
    assert.deepEqual(killed, undisturbed);
  });

test("a personal model outlives the kill of its client, until it is dropped", async () => {
  const there = await federation({ ...RUN, localEpochs: 1 });
  after(() => there.end());
  const state = join(folder, "tuned");
  const predictionsOf = ({ told }: Life) =>
    told.flatMap((one) => ("predicted" in one ? [one.predicted] : []));
  const first = live(
    there.url,
    state,
    (_, child) => {
      // Before and behind the tuning.
      if (predictionsOf(first).length === 2) child.kill("SIGKILL");
    },
    "20",
  );
  await first.ended;
  const [global, personal] = predictionsOf(first);
  assert.notDeepEqual(personal, global);
  const model = loadModel(await fs.readFile(join(state, "personal")));
  assert.notDeepEqual(model.weights, loadModel(there.aggregator.model.bytes).weights);

  const second = live(there.url, state, undefined, "0");
  await second.ended;
  assert.deepEqual(predictionsOf(second), [personal, global], "from the disk, then dropped");
  const third = live(there.url, state);
  await third.ended;
  assert.deepEqual(predictionsOf(third), [global]);
  for (const { told } of [first, second, third])
    for (const one of told) if ("problem" in one) assert.fail(one.problem);
});
