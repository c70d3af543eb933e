import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";

// What an attacker has who speaks TCP, and WebSocket only as far as it pleases.

export const hostOf = (url: string) => new URL(url).host;
export const portOf = (url: string) => Number(new URL(url).port);

/** A TCP connection that says nothing by itself. */
export async function raw(url: string): Promise<Socket> {
  const socket = connect(portOf(url), "127.0.0.1");
  socket.on("error", () => {});
  await once(socket, "connect");
  return socket;
}

/** The bytes that open a WebSocket. */
export const upgrade = (url: string, more = ""): string =>
  `GET / HTTP/1.1\r\nHost: ${hostOf(url)}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ${randomBytes(16).toString("base64")}\r\nSec-WebSocket-Version: 13\r\n${more}\r\n`;

/** A WebSocket frame from a client, under a mask of zeros. */
export function frame(first: number, payload: Uint8Array, length = payload.length) {
  const head = Buffer.alloc(14);
  head[0] = first;
  head[1] = 0x80 | 127;
  head.writeBigUInt64BE(BigInt(length), 2);
  return Buffer.concat([head, payload]);
}

export async function upgraded(url: string): Promise<Socket> {
  const socket = await raw(url);
  socket.write(upgrade(url));
  const [answer] = (await once(socket, "data")) as [Buffer];
  assert.match(answer.toString(), /^HTTP\/1\.1 101/);
  return socket;
}

export const closedBy = (socket: Socket): Promise<void> =>
  new Promise((resolve) => {
    socket.resume();
    if (socket.closed) resolve();
    else socket.once("close", () => resolve());
  });

/** Connections without end, every other one upgraded, none of which says who it is. */
export function flood(url: string): { closed(): number; end(): void } {
  const open = new Set<Socket>();
  let closed = 0;
  let made = 0;
  const more = () => {
    for (let i = 0; i < 30; i++) {
      const socket = connect(portOf(url), "127.0.0.1");
      const upgrades = made++ % 2 === 0;
      open.add(socket);
      socket.on("error", () => {});
      socket.on("connect", () => upgrades && socket.write(upgrade(url)));
      socket.on("close", () => {
        closed++;
        open.delete(socket);
      });
    }
  };
  more();
  const timer = setInterval(more, 50);
  return {
    closed: () => closed,
    end() {
      clearInterval(timer);
      for (const socket of open) socket.destroy();
    },
  };
}
