import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { digest, toHex } from "../../runtime/connection/hash.js";
import { holdersOf, neighboursOf } from "../../runtime/secure/graph.js";
import {
  agreed,
  commitmentOf,
  contextOf,
  fromHex,
  pairKey,
  publicKeyOf,
  selfKey,
  utf8,
} from "../../runtime/secure/keys.js";
import { addMask } from "../../runtime/secure/masks.js";
import { quantised, stepsFor, weightedSum } from "../../runtime/secure/quantise.js";
import { opened, sealed } from "../../runtime/secure/sealing.js";
import { secretOf, shareAt } from "../../runtime/secure/shamir.js";
import { recovered } from "../../aggregator/aggregation/recovery.js";
import { addMasked, unmask } from "../../aggregator/aggregation/masked-sum.js";
import { referenceOf } from "./secagg-vectors.js";

const sha256 = (data: Uint8Array | Uint32Array): string =>
  createHash("sha256")
    .update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    .digest("hex");

for (const tag of ["complete", "ring"] as const) {
  const reference = referenceOf(tag);
  const { of, clients, k, t, d, quantiser } = reference;
  const byId = new Map(clients.map((client) => [client.id, client]));
  const other = (id: string) => byId.get(id)!;

  test(`${tag}: context, salt and graph are the reference's`, async () => {
    assert.equal(contextOf(of), reference.context);
    assert.equal(toHex(await digest(utf8(contextOf(of)))), reference.salt);
    const ids = clients.map(({ id }) => id);
    const graph = await neighboursOf(ids, k, reference.graphSeed);
    for (const { id, neighbours, ownShareX } of clients) {
      assert.deepEqual(graph.get(id), neighbours);
      assert.equal(holdersOf(id, neighbours).indexOf(id) + 1, ownShareX);
    }
  });

  test(`${tag}: keys and commitments are the reference's`, async () => {
    for (const client of clients) {
      assert.equal(toHex(await publicKeyOf(fromHex(client.cSecret))), client.cPublic);
      assert.equal(toHex(await publicKeyOf(fromHex(client.sSecret))), client.sPublic);
      assert.equal(toHex(await selfKey(fromHex(client.b), of)), client.selfKey);
      assert.equal(toHex(await commitmentOf(fromHex(client.b))), client.commitment);
      for (const [i, id] of client.neighbours.entries()) {
        const shared = await agreed(fromHex(client.sSecret), fromHex(other(id).sPublic));
        const back = await agreed(fromHex(other(id).sSecret), fromHex(client.sPublic));
        assert.deepEqual(shared, back);
        const key = toHex(await pairKey(shared, of, client.id, id));
        assert.equal(key, toHex(await pairKey(shared, of, id, client.id)));
        if (client.pairKeys) assert.equal(key, client.pairKeys[i]);
      }
    }
  });

  test(`${tag}: shares and sealed messages are the reference's, and open`, async () => {
    for (const client of clients) {
      const { coefficientsB, coefficientsS, sharesS } = client;
      if (coefficientsB && coefficientsS && sharesS)
        client.sharesB.forEach((share, i) => {
          const at = (secret: string, coefficients: readonly string[]) =>
            toHex(shareAt(fromHex(secret), coefficients.map(fromHex), i + 1).bytes);
          assert.equal(at(client.b, coefficientsB), share);
          assert.equal(at(client.sSecret, coefficientsS), sharesS[i]);
        });
      const messages = client.sealed ?? [client.firstSealed!];
      for (const [i, message] of messages.entries()) {
        const id = client.neighbours[i];
        const shared = await agreed(fromHex(other(id).cSecret), fromHex(client.cPublic));
        const shares = await opened(fromHex(message), shared, of, client.id, id);
        assert.ok(shares);
        const x = holdersOf(client.id, client.neighbours).indexOf(id) + 1;
        assert.equal(shares.x, x);
        if (x <= client.sharesB.length) assert.equal(toHex(shares.seed), client.sharesB[x - 1]);
        if (sharesS) assert.equal(toHex(shares.secret), sharesS[x - 1]);
        assert.equal(toHex(await sealed(shares, shared, of, client.id, id)), message);
        assert.equal(await opened(fromHex(message), shared, of, id, client.id), undefined);
      }
    }
  });

  test(`${tag}: quantised updates, masks and masked updates are the reference's`, async () => {
    const most = stepsFor(clients.length);
    assert.equal(most, quantiser.steps);
    for (const [index, client] of clients.entries()) {
      const values = reference.row("inputs", index) as Float32Array;
      const chance = reference.row("chance", index) as Uint32Array;
      const steps = quantised(values, client.weight, quantiser, chance);
      assert.deepEqual(steps, reference.row("quantised", index));
      const mask = new Uint32Array(d);
      await addMask(mask, await selfKey(fromHex(client.b), of), 1);
      for (const id of client.neighbours) {
        const shared = await agreed(fromHex(client.sSecret), fromHex(other(id).sPublic));
        await addMask(mask, await pairKey(shared, of, client.id, id), client.id < id ? 1 : -1);
      }
      assert.equal(sha256(mask), client.maskSha256);
      const masked = mask.map((word, i) => word + steps[i]);
      assert.equal(sha256(masked), client.maskedSha256);
      assert.deepEqual(masked, reference.row("masked", index));
    }
  });

  test(`${tag}: shares of the survivors give the secrets, and these the sum`, async () => {
    const { dropped, silentInUnmask } = reference;
    const survivors = clients.filter(({ id }) => !dropped.includes(id));
    const sum = new Uint32Array(d);
    for (const [index, client] of clients.entries())
      if (!dropped.includes(client.id))
        addMasked(sum, new Uint8Array(reference.row("masked", index).slice().buffer));
    const secrets = { seeds: new Map<string, Uint8Array>(), keys: new Map<string, Uint8Array>() };
    for (const [id, { seed, secretKey, from }] of Object.entries(reference.recovered)) {
      const client = other(id);
      const places = holdersOf(id, client.neighbours);
      const answering = places.filter(
        (holder) => !dropped.includes(holder) && !silentInUnmask.includes(holder),
      );
      assert.deepEqual(
        answering.slice(0, t).map((holder) => places.indexOf(holder) + 1),
        from,
      );
      const told = seed === undefined ? client.sharesS : client.sharesB;
      const secret = fromHex((seed ?? secretKey)!);
      if (told !== undefined && told.length === places.length) {
        const shares = new Map(
          answering.map((holder) => {
            const x = places.indexOf(holder) + 1;
            return [holder, { x, bytes: fromHex(told[x - 1]) }] as const;
          }),
        );
        const isRight = async (got: Uint8Array) => toHex(got) === toHex(secret);
        const found = await recovered([{ client: id, shares, isRight }], t);
        assert.equal(toHex(found!.get(id)!), toHex(secret));
      }
      (seed === undefined ? secrets.keys : secrets.seeds).set(id, secret);
    }
    await unmask(sum, {
      ...secrets,
      attempt: of,
      clients: clients.map(({ id, sPublic, neighbours }) => ({ id, mask: sPublic, neighbours })),
    });
    assert.deepEqual(new Int32Array(sum.buffer), reference.tensor("sum"));
    assert.equal(
      survivors.reduce((total, { weight }) => total + weight, 0),
      reference.weightSum,
    );
    const mean = weightedSum(sum, quantiser).map((x) => x / reference.weightSum);
    reference
      .tensor("mean")
      .forEach((expected, i) =>
        assert.ok(Math.abs(mean[i] - expected) <= 1e-12 * Math.max(1, Math.abs(expected))),
      );
  });
}

test("secrets of any t shares are the same, and of one fewer another", () => {
  const secret = fromHex("00ff80017f".padEnd(64, "5a"));
  const coefficients = [1, 2, 3].map((i) => secret.map((byte, j) => byte ^ (17 * i + j)));
  const shares = [1, 2, 77, 128, 200, 255].map((x) => shareAt(secret, coefficients, x));
  for (const chosen of [shares.slice(0, 4), shares.slice(2), shares])
    assert.deepEqual(secretOf(chosen), secret);
  assert.notDeepEqual(secretOf(shares.slice(0, 3)), secret);
});

test("a number at the edge stays within the steps", () => {
  const quantiser = { range: 1, steps: 2 ** 30, maxWeight: 1 };
  const most = Uint32Array.of(2 ** 32 - 1, 2 ** 32 - 1, 0);
  assert.deepEqual(
    [...quantised(Float32Array.of(1, 9, -9), 1, quantiser, most)],
    [2 ** 30, 2 ** 30, -(2 ** 30)],
  );
});

test("one keystream runs over all the numbers, whatever the pieces", async () => {
  const key = fromHex("11".repeat(32));
  const long = new Uint32Array(2 ** 18 + 70);
  await addMask(long, key, 1);
  const aes = await crypto.subtle.importKey("raw", key, "AES-CTR", false, ["encrypt"]);
  const whole = await crypto.subtle.encrypt(
    { name: "AES-CTR", counter: new Uint8Array(16), length: 128 },
    aes,
    new Uint8Array(4 * long.length),
  );
  assert.equal(sha256(long), sha256(new Uint8Array(whole)));
  await addMask(long, key, -1);
  assert.ok(long.every((word) => word === 0));
});

test("a public key of small order is refused", async () => {
  const secret = fromHex("22".repeat(32));
  for (const small of ["00".repeat(32), "01".padEnd(64, "0")])
    await assert.rejects(agreed(secret, fromHex(small)), /of small order/);
});
