import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { after, test } from "node:test";
import { WebSocketServer } from "ws";
import { nodePlatform } from "../../runtime/platform/node.js";
import type { SocketOptions } from "../../runtime/platform/platform.js";
import { certificate } from "./certificate.js";

test("a client trusts the authority it is given, and no stranger", async (t) => {
  const tls = certificate();
  if (tls === undefined) return t.skip("no openssl here");
  const { key, cert } = tls;
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
