import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { createHash, createPublicKey, verify } from "node:crypto";
import { once } from "node:events";
import * as fs from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer } from "node:net";
import { after, test } from "node:test";
import { WebSocketServer, type WebSocket } from "ws";
import { memoryLine } from "../../runtime/platform/memory-line.js";
import { clientId, labIdentity, storedIdentity } from "../../runtime/platform/node-identity.js";
import { openStateFolder } from "../../runtime/platform/node-state.js";
import { nodePlatform } from "../../runtime/platform/node.js";

async function folder(): Promise<string> {
  const path = await fs.mkdtemp(join(tmpdir(), "fedflat-"));
  after(() => fs.rm(path, { recursive: true, force: true }));
  return path;
}

const bytes = (text: string) => new TextEncoder().encode(text);

test("blobs are kept, replaced, listed and deleted, and only this user can read them", async () => {
  const path = join(await folder(), "made", "here");
  const store = await openStateFolder(path);
  assert.equal(await store.get("a.b-1"), undefined);
  await store.put("a.b-1", bytes("one"));
  await store.put("a.b-1", bytes("two"));
  await store.put("c", bytes("three"));
  assert.deepEqual(await store.get("a.b-1"), bytes("two"));
  assert.deepEqual((await store.list()).sort(), ["a.b-1", "c"]);
  await store.delete("c");
  await store.delete("c");
  assert.deepEqual(await store.list(), ["a.b-1"]);
  if (process.platform !== "win32")
    assert.equal((await fs.stat(join(path, "a.b-1"))).mode & 0o777, 0o600);
  await store.close();
  assert.deepEqual(await fs.readdir(path), ["a.b-1"]);
  for (const name of ["../x", "", "A", "lock", "a/b"])
    await assert.rejects(store.put(name, bytes("")), TypeError, name);
});

test("a half-written file of a crash is no blob, and goes", async () => {
  const path = await folder();
  await fs.writeFile(join(path, "a.tmp"), "half");
  const store = await openStateFolder(path);
  assert.deepEqual(await store.list(), []);
  assert.deepEqual(await fs.readdir(path), ["lock"]);
  await store.close();
});

test("a folder has one living client; the lock of a dead one is taken over", async () => {
  const path = await folder();
  const store = await openStateFolder(path);
  await assert.rejects(openStateFolder(path), { code: "state-locked" });
  await store.close();

  const other = spawn(
    process.execPath,
    [
      "--input-type=module",
      "-e",
      `const { openStateFolder } = await import(${JSON.stringify(new URL("../../runtime/platform/node-state.js", import.meta.url).href)});
       await openStateFolder(${JSON.stringify(path)}); console.log("open"); setInterval(() => {}, 1000);`,
    ],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  await once(other.stdout, "data");
  await assert.rejects(openStateFolder(path), {
    code: "state-locked",
    message: new RegExp(`process ${other.pid}`),
  });
  other.kill("SIGKILL");
  await once(other, "exit");
  const again = await openStateFolder(path);
  await again.close();

  // The number of a living process that is not the holder.
  await fs.writeFile(join(path, "lock"), `${process.pid} another life`);
  await (await openStateFolder(path)).close();
  await fs.writeFile(join(path, "lock"), "nonsense");
  await (await openStateFolder(path)).close();
});

test("a folder that cannot be used is one sentence", async () => {
  const path = await folder();
  await fs.writeFile(join(path, "file"), "");
  await assert.rejects(openStateFolder(join(path, "file")), {
    code: "state-unusable",
    message: '"state" expected a folder that can be written, got something that is there already',
  });
  await assert.rejects(openStateFolder(join(path, "file", "below")), {
    code: "state-unusable",
    message: '"state" expected a folder that can be written, got a path that leads through a file',
  });
});

test("the key is made once, and what it signs verifies elsewhere", async () => {
  const path = await folder();
  const store = await openStateFolder(path);
  const identity = await storedIdentity(store);
  const again = await storedIdentity(store);
  assert.deepEqual(again.publicKey, identity.publicKey);
  assert.equal(identity.publicKey.length, 32);
  const key = createPublicKey({
    key: {
      kty: "OKP",
      crv: "Ed25519",
      x: Buffer.from(identity.publicKey).toString("base64url"),
    },
    format: "jwk",
  });
  const signature = await again.sign(bytes("message"));
  assert.equal(signature.length, 64);
  assert.ok(verify(null, bytes("message"), key, signature));
  await store.put("key", bytes("damaged"));
  await assert.rejects(storedIdentity(store), { code: "key-unreadable" });
  await store.close();
});

test("a laboratory's key depends on seed and index alone", async (t) => {
  // RFC 8032, section 7.1, would need its own seed: openssl says what this one's public key is.
  const seed = createHash("sha256").update("fedflat lab identity\u00007\u00003").digest();
  const der = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), seed]);
  assert.equal(clientId(labIdentity("7", 3)), clientId(labIdentity("7", 3)));
  assert.notEqual(clientId(labIdentity("7", 3)), clientId(labIdentity("7", 4)));
  const openssl = await new Promise<Buffer | undefined>((resolve) => {
    const child = execFile(
      "openssl",
      ["pkey", "-inform", "DER", "-pubout", "-outform", "DER"],
      { encoding: "buffer" },
      (error, stdout) => resolve(error ? undefined : stdout),
    );
    child.stdin?.on("error", () => {});
    child.stdin?.end(der);
  });
  if (openssl === undefined) return t.skip("no openssl here");
  assert.deepEqual(Buffer.from(labIdentity("7", 3).publicKey), openssl.subarray(-32));
});

test("a line in memory delivers in order, later, and what was sent before the close", async () => {
  const [a, b] = memoryLine();
  const got: unknown[] = [];
  const closes: unknown[] = [];
  a.onOpen = () => {
    a.send("one");
    a.send(Uint8Array.of(2));
    assert.deepEqual(got, []);
    assert.equal(a.bufferedAmount, 4);
    a.close(4000, "enough");
    a.send("lost");
  };
  b.onMessage = (data) => got.push(data);
  a.onClose = (...args) => closes.push(["a", ...args]);
  b.onClose = (...args) => closes.push(["b", ...args]);
  await new Promise((resolve) => setImmediate(resolve));
  b.send("too late");
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(got, ["one", Uint8Array.of(2)]);
  assert.deepEqual(closes, [
    ["b", 4000, "enough"],
    ["a", 4000, "enough"],
  ]);
});

test("memory that was sent may be written over at once, also where the other end does not read yet", async () => {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  after(() => server.close());
  const connected = once(server, "connection");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  const line = nodePlatform().openSocket(`ws://127.0.0.1:${port}`, {});
  assert.equal(line.copies, true);
  const opened = new Promise<void>((resolve) => (line.onOpen = resolve));
  const [theirs] = (await connected) as [WebSocket];
  await opened;
  theirs.pause();
  const COUNT = 200;
  const memory = new Uint8Array(65_536);
  for (let i = 0; i < COUNT; i++) line.send(memory.fill(i));
  memory.fill(255);
  assert.ok(line.bufferedAmount > 0);
  const whole: boolean[] = [];
  const all = new Promise<void>((resolve) =>
    theirs.on("message", (frame: Buffer) => {
      const i = whole.length;
      whole.push(frame.length === 65_536 && frame.every((x) => x === i));
      if (whole.length === COUNT) resolve();
    }),
  );
  theirs.resume();
  await all;
  assert.ok(whole.every(Boolean));
  const closed = new Promise<void>((resolve) => (line.onClose = () => resolve()));
  line.close();
  await closed;
});

test("a line to an end that hangs is closed all the same", async (t) => {
  const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; // RFC 6455, 1.3
  const server = createServer((line) =>
    line
      .on("error", () => {})
      .once("data", (request) => {
        const [, key] = /Sec-WebSocket-Key: (\S+)/i.exec(String(request))!;
        const accept = createHash("sha1")
          .update(key + GUID)
          .digest("base64");
        line.write(
          `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
        );
      }),
  ).listen(0, "127.0.0.1");
  after(() => server.close());
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  const line = nodePlatform().openSocket(`ws://127.0.0.1:${port}`, {});
  await new Promise<void>((resolve) => (line.onOpen = resolve));
  const closed = new Promise<void>((resolve) => (line.onClose = () => resolve()));
  t.mock.timers.enable({ apis: ["setTimeout"] });
  line.close();
  t.mock.timers.tick(5000);
  await closed;
});
