import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { WebSocketServer } from "ws";
import { nodePlatform } from "../../runtime/platform/node.js";
import type { SocketOptions } from "../../runtime/platform/platform.js";

test("a client trusts the authority it is given, and no stranger", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "fedflat-tls-"));
  after(() => rmSync(folder, { recursive: true }));
  const file = (name: string) => join(folder, name);
  try {
    execFileSync(
      "openssl",
      `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 -keyout ${file("key")} -out ${file("cert")}`.split(
        " ",
      ),
      { stdio: "ignore" },
    );
  } catch {
    return t.skip("no openssl here");
  }
  const [key, cert] = [file("key"), file("cert")].map((path) =>
    readFileSync(path, "utf8"),
  );
  const https = createServer({ key, cert });
  const server = new WebSocketServer({ server: https });
  server.on("connection", (socket) => socket.send("hello from TLS"));
  https.listen(0, "127.0.0.1");
  await once(https, "listening");
  after(() => {
    for (const client of server.clients) client.terminate();
    https.close();
  });
  const url = `wss://127.0.0.1:${(https.address() as AddressInfo).port}/`;
  const dial = (options: SocketOptions) =>
    new Promise<string>((resolve) => {
      const socket = nodePlatform().openSocket(url, options);
      socket.onMessage = (data) => {
        resolve(String(data));
        socket.close();
      };
      socket.onClose = (code, reason) => resolve(`${code} ${reason}`);
    });
  assert.equal(await dial({ tls: { ca: cert } }), "hello from TLS");
  assert.match(await dial({}), /^1006 .*self-signed/);
});
