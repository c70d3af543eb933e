import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { after, test } from "node:test";
import type { Algorithm } from "../../runtime/algorithms/algorithm.js";
import { algorithmNamed, algorithmSettings, BUILT_IN } from "../../runtime/algorithms/built-in.js";
import { fedavg } from "../../runtime/algorithms/fedavg.js";
import { ModelError } from "../../runtime/errors.js";
import { trainerHere } from "../training/engines.js";
import { begin, clientsOf, playRound, type Run } from "./rounds-in-process.js";

const folder = new URL("../../runtime/algorithms/", import.meta.url);
const isAlgorithm = (value: unknown): value is Algorithm =>
  typeof value === "object" && value !== null && "client" in value && "server" in value;

const algorithms: Algorithm[] = [];
for (const file of readdirSync(folder).sort())
  if (file.endsWith(".js"))
    algorithms.push(...Object.values(await import(new URL(file, folder).href)).filter(isAlgorithm));
algorithms.push(algorithmNamed("fedsam+fedadam"), algorithmNamed("fedprox+fedavgm"));

const trainer = await trainerHere("simd");
after(() => trainer.close());

const parts = clientsOf([9, 4, 12, 7]);
const schedule = [
  [0, 1, 2, 3],
  [0, 2, 3],
  [2, 3],
];

async function play(
  algorithm: Algorithm,
  rounds: readonly (readonly number[])[],
  given: Parameters<typeof playRound>[5] = {},
  clients = parts,
): Promise<Run> {
  const numbers = { ...algorithm.defaults, ...given.algorithmSettings };
  let run = begin(algorithm, numbers, clients.length);
  for (const [round, participants] of rounds.entries())
    run = await playRound(trainer, algorithm, run, clients, participants, {
      ...given,
      round,
    });
  return run;
}

/**
 * The numbers that switch an algorithm's own terms off, leaving the server at a plain mean where it
 * can be one.
 */
const off = (algorithm: Algorithm) =>
  Object.fromEntries(
    Object.entries(algorithm.defaults).map(([name, value]) => [
      name,
      { alpha: 0, mu: 0, rho: 0, momentum: 0, serverLearningRate: 1 }[name] ?? value,
    ]),
  );

const near = (got: ArrayLike<number>, expected: ArrayLike<number>) => {
  assert.equal(got.length, expected.length);
  for (let i = 0; i < got.length; i++)
    assert.ok(
      Math.abs(got[i] - expected[i]) <= 2e-6,
      `element ${i}: expected ${expected[i]}, got ${got[i]}`,
    );
};

test("every algorithm of the folder is built in, once", () => {
  const names = BUILT_IN.map(({ name }) => name);
  assert.equal(new Set(names).size, names.length);
  for (const algorithm of algorithms)
    if (!algorithm.name.includes("+")) assert.ok(BUILT_IN.includes(algorithm));
});

test("names and numbers that do not exist are refused by name", () => {
  assert.throws(() => algorithmNamed("fedavgg"), {
    code: "unknown-algorithm",
    message: /got "fedavgg"/,
  });
  assert.throws(() => algorithmNamed("feddyn+fedadam"), ModelError);
  const prox = algorithmNamed("fedprox");
  assert.throws(() => algorithmSettings(prox, { mew: 1 }), /"mew" expected/);
  assert.throws(() => algorithmSettings(prox, { mu: NaN }), /finite/);
  assert.deepEqual(algorithmSettings(prox, { mu: 2 }), { mu: 2 });
});

for (const algorithm of algorithms) {
  const { name, client, server } = algorithm;

  test(`${name}: its two halves name the same vectors`, () => {
    assert.deepEqual(Object.keys(server.folds).sort(), [...client.sends].sort());
    const state = begin(algorithm, algorithm.defaults, 1).state;
    assert.deepEqual(
      Object.keys(server.broadcast?.(state, 1) ?? {}).sort(),
      [...client.receives].sort(),
    );
    assert.equal(client.state.length > 0, client.nextState !== undefined);
  });

  test(`${name}: the same seed gives the same bits, in any order of arrival`, async () => {
    const run = await play(algorithm, schedule);
    assert.ok(run.global.every(Number.isFinite));
    assert.deepEqual(await play(algorithm, schedule), run);
    const reversed = schedule.map((round) => [...round].reverse());
    assert.deepEqual(await play(algorithm, reversed), run);
  });

  test(`${name}: with its own terms and MAN off, local training is FedAvg's bit for bit`, async () => {
    const given = { zeta: 0, algorithmSettings: off(algorithm) };
    const first = [[0, 1, 2, 3]];
    const plain = await play(fedavg, first, { zeta: 0 });
    const run = await play(algorithm, first, given);
    assert.deepEqual(run.deltas, plain.deltas);
    // The model moves by the same mean delta where the server takes a mean weighted by samples.
    if (server.folds.delta === "samples" && !("tau" in algorithm.defaults))
      near(run.global, plain.global);
  });

  test(`${name}: one client that always takes part trains as if alone`, async (t) => {
    if ("tau" in algorithm.defaults)
      return t.skip("a server optimizer moves the model by more than the client's delta");
    const rounds = [[0], [0], [0]];
    const given = { zeta: 0, algorithmSettings: off(algorithm) };
    const alone = [parts[2]];
    const local = await play(fedavg, rounds, given, alone);
    const run = await play(algorithm, rounds.slice(0, 1), given, alone);
    const after = await play(fedavg, rounds.slice(0, 1), given, alone);
    // FedDyn's family adds the mean drift to the mean model: without it, what is left is the
    // client's own model.
    const drift = run.state.driftSum;
    near(drift === undefined ? run.global : run.global.map((w, i) => w - drift[i]), after.global);
    if (drift === undefined)
      near((await play(algorithm, rounds, given, alone)).global, local.global);
  });

  test(`${name}: a round without updates changes nothing`, async () => {
    const before = await play(algorithm, [[0, 1]]);
    const { global, state, clients } = before;
    const after = await playRound(trainer, algorithm, before, parts, []);
    assert.deepEqual(after, { global, state, clients, deltas: {} });
  });

  test(`${name}: a client that is away for five rounds finds its state as it was`, async () => {
    const rounds = [[0, 1, 2], [1, 2], [2, 3], [1], [1, 3], [2, 3], [0, 2]];
    const run = await play(algorithm, rounds);
    const before = await play(algorithm, rounds.slice(0, 1));
    const away = await play(algorithm, rounds.slice(0, 6));
    assert.deepEqual(away.clients[0], before.clients[0]);
    assert.ok(run.global.every(Number.isFinite));
  });
}
