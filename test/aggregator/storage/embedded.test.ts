import assert from "node:assert/strict";
import { test } from "node:test";
import { openEmbedded } from "../../../aggregator/storage/embedded.js";
import type { AttemptRecord, Blob } from "../../../aggregator/storage/ledger.js";
import { memoryLedger } from "../../../aggregator/storage/memory.js";
import type { Claim } from "../../../aggregator/storage/store.js";

const blobOf = (sha256: string): Blob => ({ sha256, bytes: new Uint8Array() });
const checkpoint = { model: blobOf("model"), state: blobOf("state") };
const METRICS = { lossBefore: 2, lossAfter: 1, activationNorms: [], seconds: 3 };
const CLIENTS = ["a", "b", "c", "d"];

const attemptOf = (round: number, attempt = 1): AttemptRecord => ({
  ...{ round, attempt, selected: CLIENTS, goal: 3, population: 4, meanSamples: 5 },
  ...{ maxSamples: 8, key: "00", mode: "synchronous" },
});
const askedOf = (clients: readonly string[], round: number, attempt = 1) =>
  clients.map((client) => ({ id: `${round} ${client}`, client, work: { round, attempt } }));
const claimOf = (client: string, round = 1, attempt = 1, sha256 = `${client}1`): Claim => ({
  ...{ client, work: { round, attempt }, sha256, samples: 5, metrics: METRICS },
});

async function opened() {
  const ledger = memoryLedger();
  const store = openEmbedded(ledger, await ledger.open(checkpoint));
  const leaf = store.join();
  const outcomes = async (...claims: Claim[]) =>
    (await leaf.claim(claims)).map(({ outcome, code }) => code ?? outcome);
  const ship = (round: number, members: readonly string[], name = `of ${leaf.leaf}`) =>
    leaf.ship({ name, leaf: leaf.leaf, round, attempt: 1, members, place: "here" });
  const commit = (round: number, clients: readonly string[], partials: readonly string[]) =>
    store.commit(
      {
        ...{ round, attempt: 1, model: "model", state: "state", line: {} },
        members: clients.map((client) => ({
          ...{ client, round, assignment: `${round} ${client}`, sha256: `${client}1` },
        })),
      },
      checkpoint,
      partials,
    );
  const begin = (round: number, staleness = 0, asked = CLIENTS) =>
    store.begin(attemptOf(round), { goal: 3, staleness }, askedOf(asked, round));
  return { ledger, store, leaf, outcomes, ship, commit, begin };
}

const differs = { code: "claims-differ" };

test("a claim is the permission to fold: once, until the goal is reached, and the same when it is repeated", async () => {
  const { store, outcomes, begin } = await opened();
  assert.deepEqual(await outcomes(claimOf("a")), ["unknown"]);
  await begin(1);
  assert.deepEqual(await outcomes(...CLIENTS.map((client) => claimOf(client))), [
    ...["yours", "yours", "yours", "wait"],
  ]);
  assert.deepEqual(await outcomes(claimOf("a"), claimOf("b", 1, 1, "another")), [
    ...["yours", "conflict"],
  ]);
  const other = store.join();
  assert.deepEqual(await other.claim([claimOf("a")]), [{ client: "a", outcome: "elsewhere" }]);
  await begin(1);
  assert.deepEqual(await outcomes(claimOf("d")), ["wait"], "begun twice is begun once");
});

test("an attempt is sealed with as many as are needed, and then counts no more", async () => {
  const { store, outcomes, begin } = await opened();
  await begin(1);
  await outcomes(claimOf("a"));
  assert.equal(await store.seal(attemptOf(1), 2), false);
  assert.deepEqual(await outcomes(claimOf("b")), ["yours"]);
  for (let i = 0; i < 2; i++) assert.equal(await store.seal(attemptOf(1), 2), true);
  assert.deepEqual(await outcomes(claimOf("c")), ["wait"]);
  assert.equal(await store.seal(attemptOf(2), 0), false, "no such attempt is open");
});

test("what ends was only asked: a claim is not taken back", async () => {
  const { store, outcomes, begin } = await opened();
  await begin(1);
  await outcomes(claimOf("a"));
  await store.end(askedOf(["a", "b"], 1), "late");
  assert.deepEqual(await outcomes(claimOf("a"), claimOf("b")), ["yours", "late"]);
  await store.ask(askedOf(["b"], 1));
  assert.deepEqual(await outcomes(claimOf("b")), ["yours"], "asked again");
});

test("a commit has all that was claimed and shipped, and nothing else", async () => {
  const { ledger, store, outcomes, ship, commit, begin } = await opened();
  await begin(1);
  await outcomes(claimOf("a"), claimOf("b"));
  await assert.rejects(ship(1, ["a"]), differs);
  await assert.rejects(ship(1, ["a", "c"]), differs);
  await store.seal(attemptOf(1), 1);
  await assert.rejects(commit(1, ["a", "b"], []), differs);
  for (let i = 0; i < 2; i++) await ship(1, ["a", "b"]);
  const [{ name, members }] = await store.partials(attemptOf(1));
  assert.deepEqual(members, ["a", "b"]);
  await assert.rejects(commit(1, ["a"], [name]), differs);
  for (let i = 0; i < 2; i++) await commit(1, ["a", "b"], [name]);
  assert.equal(ledger.lastCounted("b")?.round, 1);
  assert.deepEqual(await outcomes(claimOf("a"), claimOf("b", 1, 1, "x"), claimOf("c")), [
    ...["committed", "conflict", "late"],
  ]);
});

test("partials of several leaves make a round", async () => {
  const { store, outcomes, ship, commit, begin } = await opened();
  await begin(1);
  const other = store.join();
  await outcomes(claimOf("a"));
  await other.claim([claimOf("b"), claimOf("c")]);
  await ship(1, ["a"], "first");
  await other.ship({
    ...{ name: "second", leaf: other.leaf, round: 1, attempt: 1 },
    ...{ members: ["c", "b"], place: "here" },
  });
  await assert.rejects(commit(1, ["a"], ["first"]), differs);
  await commit(1, ["a", "b", "c"], ["first", "second"]);
});

test("an attempt that is called off ends all that was asked and claimed for it", async () => {
  const { ledger, store, outcomes, ship, begin } = await opened();
  await begin(1);
  await outcomes(claimOf("a"));
  for (let i = 0; i < 2; i++) await store.abandon(attemptOf(1));
  assert.deepEqual(await outcomes(claimOf("a"), claimOf("b")), ["abandoned", "abandoned"]);
  await ship(1, ["a"]);
  await store.begin(attemptOf(1, 2), { goal: 3, staleness: 0 }, askedOf(CLIENTS, 1, 2));
  assert.deepEqual(await outcomes(claimOf("a", 1, 2)), ["yours"]);
  assert.equal((await ledger.open(checkpoint)).attempt?.attempt, 2);
});

test("buffered: work of earlier rounds counts until it is stale, and a client's newer work ends its older", async () => {
  const { store, outcomes, ship, commit, begin } = await opened();
  await begin(1, 1);
  await outcomes(claimOf("a"));
  await store.seal(attemptOf(1), 1);
  await ship(1, ["a"], "1");
  await commit(1, ["a"], ["1"]);
  assert.deepEqual(await outcomes(claimOf("b")), ["wait"], "no buffer is open");
  await begin(2, 1, ["a", "c"]);
  assert.deepEqual(await outcomes(claimOf("b"), claimOf("c", 1), claimOf("c", 2)), [
    ...["yours", "late", "yours"],
  ]);
  await store.seal(attemptOf(2), 1);
  await ship(2, ["b", "c"], "2");
  await commit(2, ["b", "c"], ["2"]);
  assert.deepEqual(await outcomes(claimOf("d")), ["stale"]);
});

test("the attempt that a restart finds open is not written again", async () => {
  const { ledger, begin } = await opened();
  await begin(1);
  const again = await ledger.open(checkpoint);
  const store = openEmbedded(ledger, again);
  await store.begin(again.attempt!, { goal: 3, staleness: 0 }, askedOf(CLIENTS, 1));
  const leaf = store.join();
  assert.equal((await leaf.claim([claimOf("a")]))[0].outcome, "yours");
});
