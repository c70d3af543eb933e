import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Aggregator } from "../../aggregator/run/aggregator.js";
import { listen } from "../../aggregator/server/server.js";
import type { GivenSettings } from "../../aggregator/settings.js";
import { memoryLedger } from "../../aggregator/storage/memory.js";
import { FederatedClient } from "../../runtime/client.js";
import { parseDescription } from "../../runtime/models/description.js";
import { initialModel } from "../../runtime/models/initial.js";
import { loadModel, type Model } from "../../runtime/models/model.js";
import { memoryStore } from "../../runtime/platform/memory-store.js";
import { labIdentity } from "../../runtime/platform/node-identity.js";
import { nodePlatform } from "../../runtime/platform/node.js";
import { readSafetensors, type TensorFile } from "../../runtime/tensors/safetensors.js";
import { steps, totalSteps } from "../algorithms/exact.js";
import { start } from "../cli/command.js";
import { trainerHere } from "../training/engines.js";
import { learningData, learningModel } from "./learning.js";

const folder = mkdtempSync(join(tmpdir(), "fedflat-killed-client-test-"));
after(() => rmSync(folder, { recursive: true }));

const ROUNDS = 4;
const NOTHING = {
  model: { sha256: "", bytes: new Uint8Array() },
  state: { sha256: "", bytes: new Uint8Array() },
};

type Tensors = TensorFile["tensors"];
const isState = (name: string) => name.startsWith("state.");
const data = join(folder, "data.csv");
const { x, y } = learningData(0, 40);
writeFileSync(
  data,
  y.map((label, i) => [...x.subarray(8 * i, 8 * i + 8), label].join()).join("\n"),
);

/**
 * A federation over sockets of two clients in this process and one that is a process of its own,
 * which is killed as soon as each of the rounds named is committed, and started again. Resolves to
 * the final model, what each client keeps, that process first, and what the server does.
 */
async function federation(
  settings: GivenSettings,
  kills: readonly number[],
  begun: Model = learningModel(),
): Promise<{ model: Uint8Array; states: Tensors[]; server: Tensors }> {
  const ledger = memoryLedger();
  const aggregator = await Aggregator.open({
    model: begun,
    ledger,
    settings: {
      ...settings,
      rounds: ROUNDS,
      gather: 3,
      minimum: 3,
      overSelection: 1,
      // The test waits for the one that is killed, however slow this machine is.
      absence: 120_000,
      evaluateFraction: 0,
      localEpochs: 2,
      batchSize: 8,
    },
  });
  const server = await listen(aggregator, { port: 0 });
  const stores = [memoryStore(), memoryStore()];
  const clients = await Promise.all(
    [0, 1].map(
      async (k) =>
        new FederatedClient(
          {
            url: server.url,
            state: "",
            data: learningData(k + 1, 30 + 20 * k),
            trainer: await trainerHere("simd"),
          },
          {
            ...nodePlatform({ identity: labIdentity("1", k) }),
            openState: async () => ({ ...stores[k], close: async () => {} }),
          },
        ),
    ),
  );
  const running = clients.map((client) => client.run());

  const state = mkdtempSync(join(folder, "state-"));
  let lives = 0;
  /** Resolves when a life of the client's process ends that was not to be killed. */
  const live = async (): Promise<void> => {
    lives++;
    const { process, ended } = start(
      ...["join", "--url", server.url, "--data", data, "--state", state],
      ...["--lab-identity", "1:2", "--hold-out", "0"],
    );
    const kill = ({ round }: { round: number }) => kills.includes(round) && process.kill("SIGKILL");
    aggregator.on("round", kill);
    const { code, stderr } = await ended;
    aggregator.off("round", kill);
    if (process.signalCode === "SIGKILL") return live();
    assert.equal(code, 0, stderr);
  };
  try {
    await live();
    await Promise.all(running);
    const { reason, rounds, model } = await aggregator.done;
    assert.deepEqual([reason, rounds], ["finished", ROUNDS]);
    assert.equal(lives, 1 + kills.length);
    const files = [
      ...readdirSync(state)
        .filter(isState)
        .map((name) => readFileSync(join(state, name))),
      ...(await Promise.all(
        stores.map(async (store) => store.get((await store.list()).find(isState)!)),
      )),
    ];
    const { last } = await ledger.open(NOTHING);
    const tensors = (bytes?: Uint8Array) => readSafetensors(bytes!).tensors;
    return { model, states: files.map(tensors), server: tensors(last.state.bytes) };
  } finally {
    await Promise.all(clients.map((client) => client.stop()));
    await aggregator.stop();
    await server.close();
  }
}

for (const algorithm of ["feddyn", "scaffold"])
  test(`${algorithm}: a client process killed and restarted between rounds changes no bit of the model`, async () => {
    const [whole, killed] = await Promise.all([
      federation({ algorithm }, []),
      federation({ algorithm }, [2]),
    ]);
    assert.deepEqual(killed.model, whole.model);
  });

test("a killed and restarted client keeps its personal layers and running values, and the server's sum is that of the states", async () => {
  const { classes } = learningModel();
  const description = parseDescription({
    input: [8],
    layers: [
      { type: "dense", units: 12 },
      { type: "batchNorm" },
      { type: "relu" },
      { type: "dense", units: 3, personal: true },
    ],
  });
  const begun = initialModel({ description, classes }, "killed");
  const settings = { algorithm: "scaffold", batchNorm: "local" } as const;
  const [whole, killed] = await Promise.all([
    federation(settings, [], begun),
    federation(settings, [1, 3], begun),
  ]);
  assert.deepEqual(killed.model, whole.model);
  assert.deepEqual(killed.states, whole.states);
  assert.deepEqual(killed.server, whole.server);

  const own = ["1.mean", "1.variance", "3.kernel", "3.bias"];
  const [first, second] = killed.states;
  for (const name of own) {
    const kept = first.get(`personal/${name}`)!.data;
    assert.notDeepEqual(kept, second.get(`personal/${name}`)!.data);
    // In the server's model they are those that clients begin with.
    const { layout, weights } = loadModel(killed.model);
    const { offset, size } = layout.parameters.find((one) => one.name === name)!;
    assert.deepEqual(
      weights.subarray(offset, offset + size),
      begun.weights.subarray(offset, offset + size),
    );
  }
  const FINEST = 2 ** -48;
  const controls = killed.states.map((tensors) =>
    Float64Array.from(
      [...tensors].flatMap(([name, { data }]) => (name.startsWith("control/") ? [...data] : [])),
    ),
  );
  const sum = killed.server.get("controlSum")!.data;
  assert.ok(sum instanceof Float64Array && sum.some((value) => value !== 0));
  assert.deepEqual(steps(sum, FINEST), totalSteps(controls, FINEST));
});
