import assert from "node:assert/strict";
import { once } from "node:events";
import { request } from "node:http";
import { connect, createServer, type AddressInfo } from "node:net";
import { test } from "node:test";
import { WebSocket } from "ws";
import { Aggregator, type Status } from "../../../aggregator/run/aggregator.js";
import { listen, openPort } from "../../../aggregator/server/server.js";
import { federation, logged, tinyModel } from "../run/federation.js";
import { sha256, updateFor } from "../run/raw-client.js";
import { until } from "../../until.js";

const httpOf = (url: string) => url.replace(/^ws/, "http");

test("/livez, /readyz and /status answer while the aggregator runs", async () => {
  const f = await federation({ gather: 2 });
  try {
    const http = httpOf(f.url);
    assert.equal((await fetch(`${http}/livez`)).status, 200);
    assert.equal((await fetch(`${http}/readyz`)).status, 200);
    assert.equal((await fetch(`${http}/nothing`)).status, 404);
    assert.equal((await fetch(`${http}/livez`, { method: "POST" })).status, 405);
    const client = await f.client("a");
    client.send({ type: "ready" });
    await client.next("wait");
    const status = (await (await fetch(`${http}/status`)).json()) as Status;
    assert.equal(status.waitsFor, "Round 1 waits for clients: 1 of 2 are ready.");
    assert.deepEqual(status.clients, [
      { id: client.id, connected: true, state: "ready", samples: 10 },
    ]);
    await f.aggregator.stop();
    assert.equal((await fetch(`${http}/readyz`)).status, 503);
    assert.equal((await fetch(`${http}/livez`)).status, 200);
  } finally {
    await f.end();
  }
});

test("a port without a run says so, and lets clients in once it has one", async () => {
  const port = await openPort({ port: 0, healthPort: 0 });
  let aggregator: Aggregator | undefined;
  try {
    const http = httpOf(port.url);
    const health = `http://127.0.0.1:${port.healthPort}`;
    for (const at of [http, health]) {
      for (const path of ["readyz", "status", "metrics", "page/events", ""])
        assert.equal((await fetch(`${at}/${path}`)).status, 503, path);
      assert.equal((await fetch(`${at}/livez`)).status, 200);
    }
    assert.equal(await upgrade(port.url, {}), 503);
    aggregator = await Aggregator.open({ model: tinyModel() });
    port.serve(aggregator);
    for (const at of [http, health])
      for (const path of ["readyz", "status", "livez"])
        assert.equal((await fetch(`${at}/${path}`)).status, 200, path);
    assert.equal((await fetch(http)).status, 200);
    assert.equal(await upgrade(port.url, {}), 101);
  } finally {
    await aggregator?.stop();
    await port.close();
  }
});

test("models are served over HTTP to clients with a connection, and from any byte on", async () => {
  const f = await federation();
  try {
    const client = await f.client("a");
    const { model, bearer } = client.welcome!;
    const url = `${httpOf(f.url)}/blobs/${model.sha256}`;
    assert.equal((await fetch(url)).status, 401);
    const wrong = { headers: { authorization: "Bearer guess" } };
    assert.equal((await fetch(url, wrong)).status, 401);
    const headers = { authorization: `Bearer ${bearer}` };
    const whole = await fetch(url, { headers });
    const bytes = new Uint8Array(await whole.arrayBuffer());
    assert.deepEqual([whole.status, sha256(bytes), bytes.length], [200, model.sha256, model.bytes]);
    const rest = await fetch(url, {
      headers: { ...headers, range: "bytes=100-" },
    });
    assert.equal(rest.status, 206);
    assert.deepEqual(new Uint8Array(await rest.arrayBuffer()), bytes.subarray(100));
    const beyond = { ...headers, range: `bytes=${bytes.length}-` };
    assert.equal((await fetch(url, { headers: beyond })).status, 416);
    const other = `${httpOf(f.url)}/blobs/${"0".repeat(64)}`;
    assert.equal((await fetch(other, { headers })).status, 404);
    client.cut();
    await client.untilClosed();
    await until(async () => (await fetch(url, { headers })).status === 401);
  } finally {
    await f.end();
  }
});

test("beyond loopback some authentication is asked for, unless told otherwise", async () => {
  const model = tinyModel();
  const options = { host: "0.0.0.0", port: 0 };
  const open = await Aggregator.open({ model });
  await assert.rejects(listen(open, options), {
    name: "ConfigError",
    code: "no-authentication",
    message: /expected a loopback address while every key is admitted/,
  });
  const server = await listen(open, { ...options, openToAll: true });
  await server.close();
  await open.stop();
  const closed = await Aggregator.open({
    model,
    admission: { kind: "token", token: "secret" },
  });
  await (await listen(closed, options)).close();
  await closed.stop();
});

test("a port in use, and an address of another machine, are said in one sentence", async () => {
  const aggregator = await Aggregator.open({ model: tinyModel() });
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
  const { port } = other.address() as AddressInfo;
  await assert.rejects(listen(aggregator, { port }), {
    code: "port-in-use",
    message: `"port" expected a free port, got ${port}, which another program uses`,
  });
  await assert.rejects(listen(aggregator, { port: 0, host: "192.0.2.1", openToAll: true }), {
    code: "cannot-listen",
  });
  other.close();
  await aggregator.stop();
});

/** How an upgrade with these headers is answered. */
const upgrade = (url: string, headers: Record<string, string>) =>
  new Promise<number>((resolve) => {
    const line = new WebSocket(url, { headers });
    line.on("open", () => {
      line.terminate();
      resolve(101);
    });
    line.on("unexpected-response", (_request, response) => {
      response.resume();
      resolve(response.statusCode!);
    });
    line.on("error", () => {});
  });

test("foreign hosts and web pages are not let in", async () => {
  const admission = { kind: "token", token: "open sesame" } as const;
  const f = await federation(
    {},
    { admission },
    { hosts: ["fl.example.org"], origins: ["https://app.example.org"] },
  );
  try {
    assert.equal(await upgrade(f.url, {}), 101);
    assert.equal(await upgrade(f.url, { host: "fl.example.org" }), 101);
    assert.equal(await upgrade(f.url, { host: "evil.example.org" }), 421);
    assert.equal(await upgrade(f.url, { origin: "https://app.example.org" }), 101);
    assert.equal(await upgrade(f.url, { origin: "http://localhost:80" }), 101);
    assert.equal(await upgrade(f.url, { origin: "https://evil.org" }), 403);
    assert.equal(logged(f, /refused a connection/)?.["reason"], "host evil.example.org");
  } finally {
    await f.end();
  }
});

test("a name with another port is another service's, also on this machine", async () => {
  const f = await federation();
  try {
    const { port } = new URL(f.url);
    for (const name of ["localhost", "127.0.0.1"]) {
      assert.equal(await upgrade(f.url, { host: `${name}:${port}` }), 101, name);
      assert.equal(await upgrade(f.url, { host: name }), 421, name);
      assert.equal(await upgrade(f.url, { host: `${name}:${Number(port) + 1}` }), 421, name);
    }
  } finally {
    await f.end();
  }
});

test("an upgrade is as the RFCs say: one Host, HTTP/1.1, version 13, no subprotocol, any case of Bearer", async () => {
  const f = await federation();
  try {
    const { host, port, hostname } = new URL(f.url);
    const ask = (request: string) =>
      new Promise<string>((resolve, reject) => {
        const socket = connect(Number(port), hostname, () => socket.write(request));
        socket.once("data", (answer) => {
          socket.destroy();
          resolve(answer.toString());
        });
        socket.on("error", reject);
      });
    const opening = (first: string, version: number, more = "") =>
      `${first}\r\nHost: ${host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: ${version}\r\n${more}\r\n`;
    const GET = "GET / HTTP/1.1";
    assert.match(await ask(opening(GET, 13)), /^HTTP\/1\.1 101 /);
    const offering = await ask(opening(GET, 13, "Sec-WebSocket-Protocol: chat, superchat\r\n"));
    assert.match(offering, /^HTTP\/1\.1 101 /);
    assert.doesNotMatch(offering, /Sec-WebSocket-Protocol/i);
    // RFC 6455, 4.4: what the server speaks stands in its answer.
    assert.match(await ask(opening(GET, 8)), /^HTTP\/1\.1 426 [^]*Sec-WebSocket-Version: 13\r\n/);
    // RFC 9112, 3.2, and RFC 9110, 7.8.
    assert.match(await ask(opening(GET, 13, `Host: ${host}\r\n`)), /^HTTP\/1\.1 400 /);
    assert.match(await ask(opening("GET / HTTP/1.0", 13)), /^HTTP\/1\.1 400 /);
    assert.match(await ask(`${GET}\r\nHost: ${host}\r\nHost: evil\r\n\r\n`), /^HTTP\/1\.1 400 /);
    const { model, bearer } = (await f.client("a")).welcome!;
    const blob = `${httpOf(f.url)}/blobs/${model.sha256}`;
    for (const scheme of ["bearer", "BEARER", "Bearer "])
      assert.equal(
        (await fetch(blob, { headers: { authorization: `${scheme} ${bearer}` } })).status,
        200,
      );
  } finally {
    await f.end();
  }
});

test("a public name asks for authentication, also on loopback, and ends what loopback may do without", async () => {
  const hosts = ["fl.example.org"];
  const open = await Aggregator.open({ model: tinyModel() });
  await assert.rejects(listen(open, { port: 0, hosts }), {
    code: "no-authentication",
    message: /^"public name" expected none while every key is admitted, got fl.example.org/,
  });
  await (await listen(open, { port: 0, hosts, openToAll: true })).close();
  await open.stop();
  const admission = { kind: "token", token: "open sesame" } as const;
  const f = await federation({}, { admission }, { hosts, healthPort: 0 });
  try {
    for (const path of ["status", "metrics", "page/events"])
      assert.equal((await fetch(`${httpOf(f.url)}/${path}`)).status, 401, path);
    const headers = { authorization: "Bearer open sesame".replace(" sesame", "-sesame") };
    assert.equal((await fetch(`${httpOf(f.url)}/status`, { headers })).status, 401);
    const health = `http://127.0.0.1:${f.healthPort}/status`;
    assert.equal((await fetch(health)).status, 200);
    const forwarded = { headers: { "x-forwarded-for": "192.0.2.7" } };
    assert.equal((await fetch(health, forwarded)).status, 401);
  } finally {
    await f.end();
  }
});

test("a forwarding header is of a proxy: what it brings is not from this machine", async () => {
  const f = await federation();
  try {
    for (const name of ["x-forwarded-for", "x-forwarded-proto", "forwarded", "via", "x-real-ip"]) {
      const headers = { [name]: "127.0.0.1" };
      for (const path of ["status", "page/events"])
        assert.equal((await fetch(`${httpOf(f.url)}/${path}`, { headers })).status, 401, name);
      assert.equal(await upgrade(f.url, headers), 403, name);
    }
    assert.equal((await fetch(`${httpOf(f.url)}/status`)).status, 200);
    assert.match(String(logged(f, /refused a connection/)?.["reason"]), /by way of a proxy/);
  } finally {
    await f.end();
  }
});

test("the address of a client is what a trusted proxy says, and only that; it is what the limit counts", async () => {
  const admission = { kind: "token", token: "open sesame" } as const;
  const from = (address: string) => ({ "x-forwarded-for": address });
  const trusting = await federation(
    {},
    { admission },
    { trustedProxies: ["127.0.0.0/8", "10.1.0.0/16"], connectionsPerAddress: 2 },
  );
  const closed = async (address: string, count: number) => {
    const lines = () =>
      trusting.log.filter(
        (line) => line["msg"] === "connection closed" && line["address"] === address,
      );
    await until(() => lines().length >= count);
  };
  try {
    // The client's own word before that of the proxies.
    assert.equal(await upgrade(trusting.url, from("127.0.0.1, 192.0.2.7, 10.1.2.3")), 101);
    await closed("192.0.2.7", 1);
    const held = ["a", "b"].map(() => new WebSocket(trusting.url, { headers: from("192.0.2.8") }));
    await Promise.all(held.map((line) => new Promise((resolve) => line.on("open", resolve))));
    assert.equal(await upgrade(trusting.url, from("192.0.2.8")), 429);
    assert.equal(await upgrade(trusting.url, from("192.0.2.9")), 101);
    for (const line of held) line.terminate();
    await closed("192.0.2.8", 2);
    assert.equal(await upgrade(trusting.url, from("192.0.2.8")), 101);
  } finally {
    await trusting.end();
  }
  const other = await federation({}, { admission }, { trustedProxies: ["10.0.0.1"] });
  try {
    assert.equal(await upgrade(other.url, from("192.0.2.7")), 101);
    await until(() => logged(other, /connection closed/));
    assert.match(String(logged(other, /connection closed/)?.["address"]), /127\.0\.0\.1$/);
  } finally {
    await other.end();
  }
  const aggregator = await Aggregator.open({ model: tinyModel() });
  for (const text of ["proxy", "10.0.0.0/33", "10.0.0.0/", "::1/129"])
    await assert.rejects(listen(aggregator, { port: 0, trustedProxies: [text] }), {
      code: "trusted-proxy",
    });
  await aggregator.stop();
});

test("a server on all addresses says one that can be dialled", async () => {
  const admission = { kind: "token", token: "open sesame" } as const;
  const f = await federation({}, { admission }, { host: "0.0.0.0" });
  try {
    assert.doesNotMatch(f.url, /0\.0\.0\.0/);
    await f.client("a", { token: "open sesame" });
    const { port } = new URL(f.url);
    assert.equal(await upgrade(`ws://127.0.0.1:${port}`, {}), 101);
    // A loopback's name is of who dials the loopback.
    if (!f.url.includes("127.0.0.1"))
      assert.equal(await upgrade(f.url, { host: `localhost:${port}` }), 421);
  } finally {
    await f.end();
  }
});

test("a web page that leads its own name to this machine reads nothing", async () => {
  const f = await federation();
  try {
    const { hostname, port } = new URL(httpOf(f.url));
    const status = (path: string) =>
      new Promise((resolve) =>
        request({ hostname, port, path, headers: { host: "evil.example.org" } }, (response) => {
          response.resume();
          resolve(response.statusCode);
        }).end(),
      );
    assert.equal(await status("/status"), 421);
    assert.equal(await status("/livez"), 200);
  } finally {
    await f.end();
  }
});

test("no more connections than allowed, and the health port still answers", async () => {
  const f = await federation({}, {}, { connections: 3 });
  try {
    for (const seed of ["a", "b", "c"]) await f.client(seed);
    assert.equal(await upgrade(f.url, {}), 503);
    assert.equal((await fetch(`${httpOf(f.url)}/livez`)).status, 200);
  } finally {
    await f.end();
  }
});

test("a token is asked for: without it, or with another, nobody is admitted", async () => {
  const f = await federation({ rounds: 1 }, { admission: { kind: "token", token: "open sesame" } });
  try {
    await assert.rejects(f.client("a"), /4001 not-admitted/);
    await assert.rejects(f.client("b", { token: "guess" }), /4001/);
    const client = await f.client("c", { token: "open sesame" });
    await client.work((_, model) => updateFor(model, () => 1));
    assert.equal((await f.aggregator.done).rounds, 1);
    for (const line of f.log)
      assert.ok(!JSON.stringify(line).includes("sesame"), "no secret in the log");
  } finally {
    await f.end();
  }
});

test("only enrolled keys are admitted", async () => {
  const ids = new Set<string>();
  const f = await federation({}, { admission: { kind: "keys", ids } });
  try {
    const stranger = f.stranger("a");
    await assert.rejects(stranger.join(), /4001 not-admitted/);
    ids.add(stranger.id);
    await f.client("a");
  } finally {
    await f.end();
  }
});

test("an HTTP client that never finishes its request does not keep the server from closing", async () => {
  const f = await federation();
  const { hostname, port } = new URL(httpOf(f.url));
  const headers = { expect: "100-continue" };
  const slow = request({ hostname, port, method: "POST", path: "/", headers });
  slow.on("error", () => {});
  slow.write("x");
  // The server has read the header, and waits for the rest.
  await once(slow, "continue");
  await f.end();
  slow.destroy();
});
