import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Aggregator } from "../../aggregator/run/aggregator.js";
import { listen } from "../../aggregator/server/server.js";
import { FederatedClient } from "../../runtime/client.js";
import { memoryStore } from "../../runtime/platform/memory-store.js";
import { labIdentity } from "../../runtime/platform/node-identity.js";
import { nodePlatform } from "../../runtime/platform/node.js";
import { start } from "../cli/command.js";
import { trainerHere } from "../training/engines.js";
import { learningData, learningModel } from "./learning.js";

const folder = mkdtempSync(join(tmpdir(), "fedflat-killed-client-test-"));
after(() => rmSync(folder, { recursive: true }));

const ROUNDS = 4;
const data = join(folder, "data.csv");
const { x, y } = learningData(0, 40);
writeFileSync(
  data,
  y.map((label, i) => [...x.subarray(8 * i, 8 * i + 8), label].join()).join("\n"),
);

/**
 * A federation over sockets of two clients in this process and one that is a process of its own,
 * which is killed as soon as each of the rounds named is committed, and started again. Resolves to
 * the final model.
 */
async function federation(algorithm: string, kills: readonly number[]): Promise<Uint8Array> {
  const aggregator = await Aggregator.open({
    model: learningModel(),
    settings: {
      algorithm,
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
            openState: async () => memoryStore(),
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
    return model;
  } finally {
    await Promise.all(clients.map((client) => client.stop()));
    await aggregator.stop();
    await server.close();
  }
}

for (const algorithm of ["feddyn", "scaffold"])
  test(`${algorithm}: a client process killed and restarted between rounds changes no bit of the model`, async () => {
    const [whole, killed] = await Promise.all([
      federation(algorithm, []),
      federation(algorithm, [2]),
    ]);
    assert.deepEqual(killed, whole);
  });
