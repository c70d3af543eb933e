import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage } from "node:http";
import { connect, type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { certificate } from "../connection/certificate.js";
import { start, startWith } from "./command.js";

const folder = mkdtempSync(join(tmpdir(), "fedflat-proxy-"));
after(() => rmSync(folder, { recursive: true }));
const file = (name: string, text: string) => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};
const model = file("model.json", '{"input":[2],"layers":[{"type":"dense","units":2}]}');
const data = file("data.csv", `a,b,label\n${"1,0,0\n0,1,1\n".repeat(10)}`);

/** Nothing of the environment that the tests run in decides. */
const NO_PROXIES = Object.fromEntries(
  ["http", "https", "all", "no"].flatMap((kind) => [
    [`${kind}_proxy`, ""],
    [`${kind}_proxy`.toUpperCase(), ""],
  ]),
);

/**
 * A proxy that knows CONNECT alone: it leads each address to a port of this machine, or answers with
 * a status. With what it was asked for.
 */
async function proxy(answer: (address: string, request: IncomingMessage) => number) {
  const asked: string[] = [];
  const lines = new Set<Socket>();
  const server = createServer((_, response) => response.writeHead(405).end());
  server.on("connect", (request, client: Socket, head) => {
    asked.push(String(request.url));
    lines.add(client.on("error", () => {}));
    const target = answer(String(request.url), request);
    if (target < 1024) {
      client.end(`HTTP/1.1 ${target} No\r\nContent-Length: 0\r\n\r\n`);
      return;
    }
    const there = connect(target, "127.0.0.1", () => {
      client.write("HTTP/1.1 200 Connection established\r\n\r\n");
      there.write(head);
      client.pipe(there).pipe(client);
    });
    there.on("error", () => client.destroy());
    client.on("close", () => there.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  after(() => {
    server.close();
    for (const line of lines) line.destroy();
  });
  return { asked, address: `127.0.0.1:${(server.address() as AddressInfo).port}` };
}

/** An aggregator for one client and one round; with its port. */
async function aggregator(name: string, ...more: string[]) {
  const running = start(
    ...["serve", "--port", "0", "--model", model, "--rounds", "1"],
    ...["--gather", "1", "--minimum", "1", "--over-selection", "1"],
    ...["--run", join(folder, name), "--json", ...more],
  );
  after(() => running.process.kill());
  const [, port] = await running.until(/"url":"wss?:\/\/[^:]+:(\d+)"/);
  return { running, port: Number(port) };
}

const joins = (name: string, url: string, env: NodeJS.ProcessEnv, ...more: string[]) =>
  startWith(
    { ...NO_PROXIES, ...env },
    ...["join", "--url", url, "--data", data, "--state", join(folder, `client ${name}`)],
    ...["--patience", "20", ...more],
  );

for (const [scheme, variable] of [
  ["ws", "HTTP_PROXY"],
  ["wss", "https_proxy"],
] as const)
  test(`${scheme}: a client whose only way out is the proxy of ${variable} trains a round`, async (t) => {
    const tls = scheme === "wss" ? certificate() : undefined;
    if (scheme === "wss" && tls === undefined) return t.skip("no openssl here");
    const cert = tls && file("cert.pem", tls.cert);
    // Only the proxy knows what lies behind this address.
    const host = "127.0.0.1:1";
    const { running, port } = await aggregator(
      scheme,
      ...["--public-name", host, "--open-to-all"],
      ...(tls ? ["--tls-cert", cert!, "--tls-key", file("key.pem", tls.key)] : []),
    );
    const credentials = `Basic ${Buffer.from("ward:secret").toString("base64")}`;
    const { address, asked } = await proxy((url, { headers }) =>
      url === host && headers["proxy-authorization"] === credentials ? port : 407,
    );
    const client = joins(
      scheme,
      `${scheme}://${host}`,
      { [variable]: `http://ward:secret@${address}` },
      ...(cert ? ["--tls-ca", cert] : []),
    );
    const { code, stdout, stderr } = await client.ended;
    assert.equal(code, 0, stdout + stderr);
    assert.match(stdout, /^Connected to wss?:\/\/\S+ through the proxy http:\/\/127.0.0.1:\d+\.$/m);
    assert.doesNotMatch(stdout + stderr, /secret/);
    assert.deepEqual([...new Set(asked)], [host]);
    assert.equal((await running.ended).code, 0);
  });

test("what NO_PROXY names is dialled directly", async () => {
  const { running, port } = await aggregator("direct");
  const { address, asked } = await proxy(() => 502);
  const client = joins("direct", `ws://127.0.0.1:${port}`, {
    ALL_PROXY: `http://${address}`,
    NO_PROXY: "example.org,127.0.0.1",
  });
  const { code, stdout } = await client.ended;
  assert.equal(code, 0, stdout);
  assert.match(stdout, /^Connected to ws:\/\/127.0.0.1:\d+\.$/m);
  assert.deepEqual(asked, []);
  await running.ended;
});

test("a proxy that refuses, and an address that is no proxy's, are said", async () => {
  const { address } = await proxy(() => 407);
  const refused = joins("refused", "ws://aggregator.invalid", { http_proxy: `http://${address}` });
  await refused.until(
    /No line to ws:\/\/aggregator.invalid through the proxy http:\/\/127.0.0.1:\d+ \([^)]*407[^)]*\)/,
  );
  refused.process.kill();
  await refused.ended;
  for (const [given, got] of [
    ["socks5://user:secret@127.0.0.1:1080", "one with socks5:"],
    ["http://:3128:secret", "something else"],
  ]) {
    const { code, stderr } = await joins("wrong", "wss://aggregator.invalid", {
      HTTPS_PROXY: given,
    }).ended;
    assert.equal(code, 2);
    assert.equal(
      stderr,
      `fedflat: "HTTPS_PROXY" expected the address of a proxy, http://... or https://..., got ${got}\n`,
    );
  }
});
