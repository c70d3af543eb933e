import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { get, request } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { deflateRawSync } from "node:zlib";
import WebSocket from "ws";
import { openKeyRing } from "../../aggregator/sessions/enrolment.js";
import { random } from "../../runtime/tensors/random.js";
import { federation, logged, tinyModel } from "../aggregator/run/federation.js";
import { sha256, updateFor, type Message, type RawClient } from "../aggregator/run/raw-client.js";
import { floodWith } from "./flooder.js";
import { closedBy, frame, portOf, raw, upgrade, upgraded } from "./sockets.js";
import { underAttack, type Under } from "./under-attack.js";
import { until } from "../until.js";

/** A member of the run with its assignment. */
async function insider(
  { client, good }: Under,
  seed = "insider",
): Promise<{ bad: RawClient; assign: Message; model: Uint8Array }> {
  const bad = await client(seed);
  bad.send({ type: "ready" });
  good[0].send({ type: "ready" });
  const assign = await bad.next("assign");
  return { bad, assign, model: await bad.fetch(assign["model"]) };
}

test("malformed text, too many of them", () =>
  underAttack(async ({ client }) => {
    const bad = await client("bad");
    for (let i = 0; i < 120; i++) bad.sendFrame("{".repeat(i));
    assert.equal((await bad.untilClosed()).code, 1008);
  }));

test("deeply nested JSON", () =>
  underAttack(async ({ client }) => {
    const bad = await client("bad");
    bad.sendFrame('{"type":'.repeat(8000));
    bad.sendFrame("[".repeat(65_000));
    assert.equal((await bad.next("error"))["code"], "not-json");
  }));

test("truncated frames: a header that promises more than comes", () =>
  underAttack(async ({ url }) => {
    const sockets = await Promise.all(Array.from({ length: 20 }, () => upgraded(url)));
    for (const socket of sockets) socket.write(frame(0x82, new Uint8Array(10), 200_000));
    for (const socket of sockets) socket.destroy();
  }));

test("an oversize frame ends the connection with 1009, before its bytes have come", () =>
  underAttack(async ({ url }) => {
    const socket = await upgraded(url);
    const answers: Buffer[] = [];
    socket.on("data", (bytes: Buffer) => answers.push(bytes));
    socket.write(frame(0x82, new Uint8Array(10), 2 ** 40));
    await closedBy(socket);
    // A close frame whose first two bytes are the code.
    assert.equal(Buffer.concat(answers).readUInt16BE(2), 1009);
  }));

test("a message in endless fragments", () =>
  underAttack(async (under) => {
    const fragments = Array.from({ length: 5000 }, (_, i) =>
      frame(i === 0 ? 0x01 : 0x00, new Uint8Array(1)),
    );
    await floodWith(under.url, Buffer.concat(fragments), 500);
    assert.ok(logged(under, /closed a connection that broke WebSocket/));
  }));

/** 64 MB of zeros, before the clock of an attack runs. */
const BOMB = deflateRawSync(Buffer.alloc(64 * 1024 * 1024));

test("a decompression bomb: no extension is agreed on, and a compressed frame ends the connection", () =>
  underAttack(async ({ url }) => {
    const socket = await raw(url);
    socket.write(upgrade(url, "Sec-WebSocket-Extensions: permessage-deflate\r\n"));
    const [answer] = (await once(socket, "data")) as [Buffer];
    assert.doesNotMatch(answer.toString(), /permessage-deflate/);
    socket.write(frame(0xc1, BOMB));
    await closedBy(socket);
  }));

test("random frames, text and binary", () =>
  underAttack(async ({ client }) => {
    const chance = random("random frames");
    const bad = await client("bad");
    for (let i = 0; i < 90; i++) {
      const bytes = Uint8Array.from({ length: chance.integer(2000) }, () => chance.integer(256));
      bad.sendFrame(i % 2 ? bytes : Buffer.from(bytes).toString("latin1"));
    }
    bad.send({ type: "ping", id: 7 });
    await bad.next("pong");
  }));

test("a member that fills the log: refused wants and errors, each as long as it may be", () =>
  underAttack(async (under) => {
    const bad = await under.client("bad");
    const before = JSON.stringify(under.log).length;
    const error = { type: "error", code: "other", message: "\u0001".repeat(4096) };
    const sha256 = "0".repeat(64);
    const begun = performance.now();
    for (let i = 0; i < 2000; i++) {
      bad.send(error);
      bad.send({ type: "want", transfer: 2 * i + 1, sha256, offset: 0, window: 1024 });
    }
    bad.send({ type: "ping", id: 7 });
    await bad.next("pong");
    const seconds = Math.ceil((performance.now() - begun) / 1000) + 1;
    const bytes = JSON.stringify(under.log).length - before;
    // Two sentences, 20 times a second each, with words of 259 characters.
    assert.ok(bytes <= seconds * 2 * 20 * 1200, `${bytes} in ${seconds} s`);
    assert.equal(logged(under, /the client complains/)?.["leftOut"], undefined);
  }));

test("words of a client: what they hide reaches neither log, status nor page", () =>
  underAttack(async (under) => {
    const bad = await under.client("bad");
    const hidden = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/;
    const evil = "on \u001b[2Jbattery\u009b31m\u202e\n";
    bad.send({ type: "busy", reason: evil });
    bad.send({ type: "error", code: "other", message: evil });
    bad.sendFrame(evil);
    await bad.next("error");
    const { clients } = under.aggregator.status();
    const state = clients.find(({ id }) => id === bad.id)!.state;
    assert.equal(state, "busy: on \ufffd[2Jbattery\ufffd31m\ufffd\ufffd");
    const words = under.log.flatMap((line) => Object.values(line)).map(String);
    assert.deepEqual(
      words.filter((text) => hidden.test(text)),
      [],
    );
    const page = await fetch(`${under.url.replace("ws", "http")}/page/events`);
    const reader = page.body!.pipeThrough(new TextDecoderStream()).getReader();
    const { value } = await reader.read();
    await reader.cancel();
    assert.match(value!, /on \ufffd\[2Jbattery/);
    assert.doesNotMatch(value!, hidden);
  }));

test("a slow reader: who acknowledges what it never reads loses its connection before much piles up", () =>
  underAttack(
    async (under) => {
      const bad = await under.client("bad");
      const { sha256, bytes } = bad.welcome!["model"];
      bad.pause();
      const window = bad.welcome!["limits"].windowBytes;
      let transfer = -1;
      await until(() => {
        transfer += 2;
        bad.send({ type: "want", transfer, sha256, offset: 0, window });
        for (let at = window; at < bytes; at += window)
          bad.send({ type: "ack", transfer, offset: at });
        bad.send({ type: "ack", transfer, offset: bytes });
        return logged(under, /does not read/);
      });
    },
    {
      settings: { windowBytes: 16 * 1024 },
      aggregator: { model: tinyModel(100_000) },
    },
  ));

test("a flood of small messages does not keep others waiting", () =>
  underAttack(async ({ url }) => {
    const ping = frame(0x81, Buffer.from('{"type":"ping","id":1}'));
    const many = Buffer.concat(Array.from({ length: 2000 }, () => ping));
    await floodWith(url, many, 1000);
  }));

test("a flood of WebSocket pings whose answers nobody reads", () =>
  underAttack(async ({ url }) => {
    const ping = frame(0x89, new Uint8Array(125));
    const many = Buffer.concat(Array.from({ length: 2000 }, () => ping));
    await floodWith(url, many, 1500, { deaf: true });
  }));

for (const [what, bytes, settings] of [
  ["by drops", 1, { deadline: 4000 }],
  // 10 kB a second, and all of the deadline to send 1 MB.
  ["that are just fast enough", 200, { deadline: 600_000, clientsPerRound: 2, overSelection: 2 }],
] as const)
  test(`slow writers: uploads ${what} give their room to others`, async () => {
    let dripping: NodeJS.Timeout | undefined;
    try {
      await underAttack(
        async ({ client, good }) => {
          const slow = [await client("slow 1"), await client("slow 2")];
          for (const one of [...slow, ...good]) one.send({ type: "ready" });
          // Room for two updates, and both are taken before the good clients come.
          const drops = await Promise.all(
            slow.map(async (one) => {
              const assign = await one.next("assign");
              const model = await one.fetch(assign["model"]);
              const update = updateFor(model, () => 1);
              one.offer(assign["assignment"], update);
              let { transfer } = await one.next("grant");
              let at = 0;
              return () => {
                const abort = one.messages.findLast((m) => m.type === "abort");
                if (abort?.["transfer"] === transfer) transfer = 0;
                if (transfer === 0) return;
                one.sendChunk(transfer, at, update.subarray(at, at + bytes));
                at += bytes;
              };
            }),
          );
          dripping = setInterval(() => drops.forEach((drop) => drop()), 20);
        },
        {
          settings: { budgetBytes: 1, stall: 100, gather: 4, ...settings },
          aggregator: { model: tinyModel(50_000) },
        },
      );
    } finally {
      clearInterval(dripping);
    }
  });

test("slow headers, or none at all: a request that never ends is cut off", () =>
  underAttack(
    async ({ url }) => {
      const sockets = await Promise.all(Array.from({ length: 50 }, () => raw(url)));
      for (const socket of sockets.slice(25)) socket.write("GET / HTTP/1.1\r\nX: ");
      await Promise.all(sockets.map(closedBy));
    },
    { server: { headersTimeout: 300 } },
  ));

test("silent sockets after the upgrade are closed", () =>
  underAttack(
    async ({ url }) => {
      const sockets = await Promise.all(Array.from({ length: 50 }, () => upgraded(url)));
      await Promise.all(sockets.map(closedBy));
    },
    { settings: { helloDeadline: 200 } },
  ));

test("a flood of connections: as many connections as allowed, and the health port answers", () =>
  underAttack(
    async ({ url, health }) => {
      const sockets = Array.from({ length: 400 }, () => {
        const socket = connect(portOf(url), "127.0.0.1");
        socket.on("error", () => {});
        socket.on("connect", () => socket.write(upgrade(url)));
        return socket;
      });
      // Each is answered, or ended at once.
      await Promise.all(
        sockets.map((socket) =>
          Promise.race(["data", "close"].map((event) => once(socket, event))),
        ),
      );
      assert.equal((await fetch(`${health}/readyz`)).status, 200);
      for (const socket of sockets) socket.destroy();
    },
    { server: { connections: 100 } },
  ));

test("many connections of one address are dropped", () =>
  underAttack(
    async ({ url }) => {
      const sockets = await Promise.all(Array.from({ length: 40 }, () => raw(url)));
      await until(() => sockets.filter(({ destroyed }) => destroyed).length >= 20);
      for (const socket of sockets) socket.destroy();
    },
    { server: { connectionsPerAddress: 20 } },
  ));

test("a flood of identities: no more clients than the run may have", () =>
  underAttack(
    async (under) => {
      for (let i = 0; i < 30; i++) await under.client(`sybil ${i}`).catch(() => {});
      assert.equal(under.aggregator.status().clients.length, 10);
      assert.ok(logged(under, /as many as it may/));
    },
    { settings: { maxClients: 10 } },
  ));

test("a proof that was overheard is worth nothing on another connection", () =>
  underAttack(async ({ stranger }) => {
    const victim = stranger("victim");
    const sent: object[] = [];
    const send = victim.send.bind(victim);
    victim.send = (message) => {
      sent.push(message);
      send(message);
    };
    await victim.join();
    const thief = stranger("victim");
    await thief.opened();
    for (const message of sent) thief.send(message);
    assert.equal((await thief.untilClosed()).code, 4001);
    assert.equal(victim.closed, undefined);
  }));

test("an impersonator without the key is not admitted", () =>
  underAttack(async ({ stranger, good }) => {
    const thief = stranger("thief");
    const send = thief.send.bind(thief);
    // Says it is the good client, and signs with its own key.
    const victim = stranger("good 1");
    let hello: { key: string } | undefined;
    victim.send = (message) => {
      hello = message as { key: string };
    };
    await victim.opened();
    victim.sayHello();
    thief.send = (message) => send("nonce" in message ? { ...message, key: hello!.key } : message);
    await assert.rejects(thief.join());
    assert.equal((await thief.untilClosed()).code, 4001);
    assert.equal(good[0].closed, undefined);
  }));

/** The encodings that libsodium refuses: of small order, and beyond the prime 2^255 - 19. */
const WRONG_KEYS = [
  "0000000000000000000000000000000000000000000000000000000000000000",
  "0100000000000000000000000000000000000000000000000000000000000000",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
].flatMap((key) => [
  key,
  // The other sign of x.
  key.slice(0, 62) + (parseInt(key.slice(62), 16) | 0x80).toString(16).padStart(2, "0"),
]);

test("a key that needs no private one, or has two forms, is refused at hello", () =>
  underAttack(async ({ stranger }) => {
    for (const key of WRONG_KEYS) {
      const thief = stranger("thief");
      const send = thief.send.bind(thief);
      thief.send = (message) => send("nonce" in message ? { ...message, key } : message);
      await thief.opened();
      thief.sayHello();
      assert.equal((await thief.untilClosed()).code, 4001, key);
      assert.deepEqual(
        thief.messages.map(({ type, code }) => [type, code]),
        [["error", "not-admitted"]],
      );
    }
  }));

test("a proof relayed from another service on this machine is worth nothing", () =>
  underAttack(async ({ stranger, url }) => {
    const other = `127.0.0.1:${portOf(url) + 1}`;
    // Signed for the other service, and brought here under our name.
    const victim = stranger("victim", { signedHost: other });
    await assert.rejects(victim.join(), /4001/);
    // Brought here under the name that was signed.
    const line = new WebSocket(url, { headers: { host: other } });
    const [error] = (await once(line, "error")) as [Error];
    assert.match(error.message, /421/);
  }));

test("a proxy on this machine lets nobody in as if from here", () =>
  underAttack(async ({ url }) => {
    const headers = { "x-forwarded-for": "192.0.2.7" };
    const status = await fetch(`${url.replace("ws", "http")}/status`, { headers });
    assert.equal(status.status, 401);
    const line = new WebSocket(url, { headers });
    const [error] = (await once(line, "error")) as [Error];
    assert.match(error.message, /403/);
  }));

test("another offer amid an upload does not end the first", () =>
  underAttack(
    async (under) => {
      const { bad, assign, model } = await insider(under);
      const first = updateFor(model, () => 1);
      bad.offer(assign["assignment"], first);
      const grant = await bad.next("grant");
      bad.sendChunk(grant["transfer"], 0, first.subarray(0, 10));
      bad.offer(
        assign["assignment"],
        updateFor(model, () => 2),
      );
      assert.equal((await bad.next("refused"))["code"], "conflict");
      bad.sendChunk(grant["transfer"], 10, first.subarray(10));
      assert.equal((await bad.next("received"))["assignment"], assign["assignment"]);
    },
    { settings: { gather: 2 } },
  ));

test("a stolen session: neither an assignment nor a bearer is good for another", () =>
  underAttack(async (under) => {
    const { bad: owner, assign, model } = await insider(under, "owner");
    const thief = await under.client("thief");
    const update = updateFor(model, () => 9);
    const answer = await thief.deliver(assign["assignment"], update);
    assert.equal(answer["code"], "unknown-assignment");
    const blob = `${under.url.replace("ws", "http")}/blobs/${assign["model"].sha256}`;
    const authorization = `Bearer ${owner.welcome!["bearer"]}`;
    const ask = async (headers: Record<string, string>) => (await fetch(blob, { headers })).status;
    assert.equal(await ask({ authorization }), 200);
    assert.equal(await ask({}), 401);
    assert.equal(await ask({ authorization: "Bearer x" }), 401);
    owner.close();
    await owner.untilClosed();
    await until(async () => (await ask({ authorization })) === 401);
  }));

test("a key is enrolled by a one-time token; revoked, it loses its connection and stays out", async () => {
  const folder = await mkdtemp(join(tmpdir(), "fedflat-keys-"));
  try {
    const keys = await openKeyRing(folder);
    await underAttack(
      async ({ stranger }) => {
        const token = await keys.issue("bad", 60);
        const bad = stranger("bad", { token });
        await bad.join();
        const second = stranger("second", { token });
        await assert.rejects(second.join(), /not used yet|4001/);
        const old = stranger("old", { token: await keys.issue("old", -1) });
        await assert.rejects(old.join());
        const none = stranger("none");
        await assert.rejects(none.join());
        await keys.revoke(bad.id);
        assert.equal((await bad.untilClosed()).code, 4001);
        const fresh = await keys.issue("again", 60);
        const again = stranger("bad", { token: fresh });
        await assert.rejects(again.join());
        assert.deepEqual(
          (await keys.list()).map(({ state }) => state),
          ["enrolled", "enrolled", "revoked"],
        );
        await assert.rejects(keys.revoke("../tokens"), /an enrolled client/);
      },
      {
        aggregator: { admission: { kind: "enrolled", keys } },
        token: (index) => keys.issue(`good ${index}`, 60),
        settings: { heartbeat: 200 },
      },
    );
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("prototype pollution through JSON", () =>
  underAttack(async (under) => {
    const { bad, assign } = await insider(under);
    for (const text of [
      '{"type":"ready","__proto__":{"polluted":1}}',
      '{"type":"progress","constructor":{"prototype":{"polluted":1}}}',
      '{"__proto__":{"type":"ready"}}',
      '{"type":"__proto__"}',
      '{"type":"constructor"}',
    ])
      bad.sendFrame(text);
    bad.send({
      type: "offer",
      assignment: assign["assignment"],
      sha256: sha256(new Uint8Array(1)),
      bytes: 1,
      samples: 1,
      metrics: JSON.parse(
        '{"lossBefore":1,"lossAfter":1,"activationNorms":[],"seconds":1,"__proto__":{"polluted":1}}',
      ),
    });
    assert.equal((await bad.next("refused"))["code"], "bytes");
    assert.equal(({} as { polluted?: number }).polluted, undefined);
  }));

/** A path as it stands: `fetch` would tidy it up. */
const ask = (url: string, path: string) =>
  new Promise<{ status?: number; text: string }>((resolve, reject) =>
    get({ port: portOf(url), host: "127.0.0.1", path }, async (response) => {
      let text = "";
      for await (const part of response.setEncoding("utf8")) text += part;
      resolve({ status: response.statusCode, text });
    }).on("error", reject),
  );

test("path traversal in names", () =>
  underAttack(async ({ url, client }) => {
    for (const path of [
      "/blobs/../../etc/passwd",
      "/blobs/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
      `/blobs/${"../".repeat(20)}etc/passwd`,
      "//etc/passwd",
      "/../package.json",
      "/page/../../server.js",
      "/page/..%2f..%2fserver.js",
    ])
      assert.equal((await ask(url, path)).status, 404, path);
    // Nothing lies above the root, which is the live page.
    assert.deepEqual(await ask(url, "/.."), await ask(url, "/"));
    const bad = await client("bad");
    bad.send({
      type: "want",
      transfer: 1,
      sha256: "../../../../etc/passwd",
      offset: 0,
      window: 1024,
    });
    assert.equal((await bad.next("error"))["code"], "bad-field");
  }));

test("a foreign web page and a foreign host name are refused", () =>
  underAttack(async ({ url }) => {
    for (const headers of [
      { origin: "https://evil.example" },
      { origin: "null" },
      { host: "evil.example" },
    ]) {
      const socket = new WebSocket(url, { headers });
      const [error] = (await once(socket, "error")) as [Error];
      assert.match(error.message, /403|421/);
    }
  }));

test("an HTTP body nobody asked for", () =>
  underAttack(async ({ url }) => {
    const post = request({
      port: portOf(url),
      host: "127.0.0.1",
      method: "POST",
      headers: { "transfer-encoding": "chunked" },
    });
    post.on("error", () => {});
    const answered = once(post, "response");
    for (let i = 0; i < 100; i++) post.write(new Uint8Array(65536));
    const [response] = await answered;
    assert.equal(response.statusCode, 405);
    post.destroy();
  }));

for (const [what, value, code] of [
  ["NaN", NaN, "not-finite"],
  ["infinite numbers", Infinity, "not-finite"],
  ["numbers beyond the sum", 1e30, "range"],
  ["a huge norm", 1000, "norm"],
] as const)
  test(`an update of ${what}`, () =>
    underAttack(
      async (under) => {
        const { bad, assign, model } = await insider(under);
        const update = updateFor(model, () => value);
        const answer = await bad.deliver(assign["assignment"], update);
        assert.deepEqual([answer.type, answer["code"]], ["refused", code]);
      },
      { settings: { maxNorm: 100, gather: 2 } },
    ));

test("an update off the grid that its client would keep in another form is refused, one on it is not", async () => {
  const f = await federation({ rounds: 1, gather: 2, quorum: 0.5, algorithm: "scaffold" });
  try {
    const [bad, good] = await Promise.all(
      ["bad", "good"].map((seed) => f.client(seed, { algorithms: ["scaffold"] })),
    );
    for (const client of [bad, good]) client.send({ type: "ready" });
    const vectors = ["delta", "controlChange"];
    for (const [client, factor, type, code] of [
      [bad, 1.5, "refused", "grid"],
      [good, 3, "received", undefined],
    ] as const) {
      const { assignment, model, settings } = await client.next("assign");
      const value = factor * settings.grid;
      assert.notEqual(value, 0);
      const update = updateFor(await client.fetch(model), () => value, vectors);
      const answer = await client.deliver(assignment, update);
      assert.deepEqual([answer.type, answer["code"]], [type, code]);
    }
    assert.equal((await f.aggregator.done).rounds, 1);
  } finally {
    await f.end();
  }
});

test("the same update over and over is counted once", () =>
  underAttack(async (under) => {
    const { bad, assign, model } = await insider(under);
    const update = updateFor(model, () => 1);
    await bad.deliver(assign["assignment"], update);
    for (let i = 0; i < 50; i++) bad.offer(assign["assignment"], update);
    for (let i = 0; i < 50; i++) await bad.next("received", "committed");
  }));

test("a hash that promises other bytes", () =>
  underAttack(async (under) => {
    const { bad, assign, model } = await insider(under);
    const answer = await bad.deliver(
      assign["assignment"],
      updateFor(model, () => 1),
      { sha256: createHash("sha256").update("x").digest("hex") },
    );
    assert.equal(answer["code"], "hash");
  }));
