import assert from "node:assert/strict";
import { test } from "node:test";
import { toHex } from "../../runtime/connection/hash.js";
import { agreed, contextOf, pairKey, publicKeyOf, selfKey } from "../../runtime/secure/keys.js";
import { addMask } from "../../runtime/secure/masks.js";
import { opened, sealed } from "../../runtime/secure/sealing.js";
import { isSigned } from "../../runtime/secure/texts.js";

// The noble libraries, which are audited and share no code with the system's cryptography. Their
// names are put together here so that the compiler does not need them.
const noble = (name: string) => import(`@noble/${name}.js`);
const { x25519, ed25519 } = (await noble("curves/ed25519")) as {
  x25519: {
    getPublicKey(secret: Uint8Array): Uint8Array;
    getSharedSecret(secret: Uint8Array, key: Uint8Array): Uint8Array;
  };
  ed25519: {
    getPublicKey(secret: Uint8Array): Uint8Array;
    sign(message: Uint8Array, secret: Uint8Array): Uint8Array;
  };
};
const { sha256 } = (await noble("hashes/sha2")) as { sha256: (data: Uint8Array) => Uint8Array };
const { hkdf } = (await noble("hashes/hkdf")) as {
  hkdf(
    hash: unknown,
    secret: Uint8Array,
    salt: Uint8Array,
    info: Uint8Array,
    length: number,
  ): Uint8Array;
};
interface Cipher {
  encrypt(data: Uint8Array): Uint8Array;
}
const { gcm, ctr } = (await noble("ciphers/aes")) as {
  gcm(key: Uint8Array, nonce: Uint8Array, data: Uint8Array): Cipher;
  ctr(key: Uint8Array, nonce: Uint8Array): Cipher;
};

const utf8 = (text: string) => new TextEncoder().encode(text);
const attempt = { run: "0123456789abcdef0123456789abcdef", round: 3, attempt: 1 };
const context = utf8(contextOf(attempt));
const random = (bytes = 32) => crypto.getRandomValues(new Uint8Array(bytes));

for (let times = 1; times <= 8; times++) {
  const [a, b] = [random(), random()];
  const [from, to] = [toHex(random()), toHex(random())];

  test(`keys and masks are those of a second implementation, ${times}`, async () => {
    assert.deepEqual(await publicKeyOf(a), x25519.getPublicKey(a));
    const shared = await agreed(a, x25519.getPublicKey(b));
    assert.deepEqual(shared, x25519.getSharedSecret(a, x25519.getPublicKey(b)));
    const derived = (secret: Uint8Array, info: string) =>
      hkdf(sha256, secret, sha256(context), utf8(`fedflat/1 secagg ${info}`), 32);
    assert.deepEqual(await selfKey(a, attempt), derived(a, "self"));
    const pair = derived(shared, `pair\n${[from, to].sort().join("\n")}`);
    const key = await pairKey(shared, attempt, from, to);
    assert.deepEqual(key, pair);
    const mask = new Uint32Array(1001);
    await addMask(mask, key, 1);
    const stream = ctr(pair, new Uint8Array(16)).encrypt(new Uint8Array(4 * mask.length));
    assert.deepEqual(new Uint8Array(mask.buffer), Uint8Array.from(stream));
  });

  test(`sealed messages are those of a second implementation, ${times}`, async () => {
    const shared = await agreed(a, x25519.getPublicKey(b));
    const shares = { x: times, seed: random(), secret: random() };
    const message = await sealed(shares, shared, attempt, from, to);
    const key = hkdf(
      sha256,
      shared,
      sha256(context),
      utf8(`fedflat/1 secagg share\n${from}\n${to}`),
      32,
    );
    const data = utf8(`${contextOf(attempt)}\n${from}\n${to}`);
    const plain = Uint8Array.from([shares.x, ...shares.seed, ...shares.secret]);
    assert.deepEqual(message, Uint8Array.from(gcm(key, new Uint8Array(12), data).encrypt(plain)));
    assert.deepEqual(await opened(message, shared, attempt, from, to), shares);
    message[times] ^= 1;
    assert.equal(await opened(message, shared, attempt, from, to), undefined);
  });

  test(`signatures of a second implementation are read, ${times}`, async () => {
    const text = random(99);
    const key = Uint8Array.from(ed25519.getPublicKey(a));
    const signature = Uint8Array.from(ed25519.sign(text, a));
    assert.equal(await isSigned(text, key, signature), true);
    signature[times] ^= 1;
    assert.equal(await isSigned(text, key, signature), false);
  });
}
