import { createPublicKey, randomBytes, verify } from "node:crypto";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { WebSocketServer, type WebSocket } from "ws";
import { decodeChunk, encodeChunk } from "../../runtime/protocol/chunks.js";
import {
  decodeClientMessage,
  type ClientMessage,
  type ClientMessageOf,
} from "../../runtime/protocol/client-messages.js";
import type { OutgoingServerMessage } from "../../runtime/protocol/server-messages.js";

/**
 * One accepted line, from the server's side: tests say what goes over it, and take what comes in
 * order.
 */
export interface ServerLine {
  readonly socket: WebSocket;
  /** The `Host` header of the upgrade request. */
  readonly host: string;
  send(message: OutgoingServerMessage): void;
  /** Sends any text, for instance nonsense. */
  raw(data: string | Uint8Array): void;
  chunk(transfer: number, offset: number, bytes: Uint8Array): void;
  /** The next message of these types; messages of other types before it are skipped. */
  next<T extends ClientMessage["type"]>(...types: T[]): Promise<ClientMessageOf<T>>;
  /** The next binary frame. */
  nextChunk(): Promise<{ transfer: number; offset: number; bytes: Uint8Array }>;
  /** Resolves with the close code. */
  readonly closed: Promise<number>;
}

type Welcome = Extract<OutgoingServerMessage, { type: "welcome" }>;

export interface ScriptedServer {
  readonly url: string;
  readonly run: string;
  /** The next line that a client opens. */
  line(): Promise<ServerLine>;
  /** The next line, greeted: its proof checked against the document, and welcome. */
  welcomed(
    changes?: Partial<Welcome>,
  ): Promise<{ line: ServerLine; hello: ClientMessageOf<"hello"> }>;
  close(): Promise<void>;
}

const SPKI_PREFIX = Buffer.from("302a300506032b6570032100", "hex");

/** A server of real sockets on loopback that does only what a test tells it. */
export async function scriptedServer(
  run = randomBytes(16).toString("hex"),
): Promise<ScriptedServer> {
  const server = new WebSocketServer({
    host: "127.0.0.1",
    port: 0,
    maxPayload: 256 * 1024,
  });
  await once(server, "listening");
  const lines = queue<ServerLine>();
  server.on("connection", (socket, request) =>
    lines.push(serverLine(socket, request.headers.host ?? "")),
  );
  const { port } = server.address() as AddressInfo;
  return {
    url: `ws://127.0.0.1:${port}/`,
    run,
    line: lines.next,
    async welcomed(changes = {}) {
      const line = await lines.next();
      const hello = await line.next("hello");
      const nonce = randomBytes(32).toString("hex");
      line.send({ type: "challenge", protocol: 1, run, nonce });
      const { signature } = await line.next("proof");
      const key = createPublicKey({
        key: Buffer.concat([SPKI_PREFIX, Buffer.from(hello.key, "hex")]),
        format: "der",
        type: "spki",
      });
      const signed = `fedflat/1 proof\n${run}\n127.0.0.1:${port}\n${hello.nonce}\n${nonce}`;
      if (!verify(null, Buffer.from(signed), key, Buffer.from(signature, "hex")))
        throw new Error("the proof does not hold");
      line.send({
        type: "welcome",
        epoch: 1,
        run,
        limits: { frameBytes: 65552, windowBytes: 262144, blobBytes: 1e8 },
        heartbeat: 10_000,
        round: 1,
        ...changes,
      });
      return { line, hello };
    },
    async close() {
      for (const client of server.clients) client.terminate();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function serverLine(socket: WebSocket, host: string): ServerLine {
  const messages = queue<ClientMessage>();
  const chunks = queue<ReturnType<typeof decodeChunk>>();
  socket.on("message", (data: Buffer, isBinary) => {
    if (isBinary) return chunks.push(decodeChunk(data));
    const decoded = decodeClientMessage(data.toString());
    if (!decoded.ok) throw decoded.error;
    messages.push(decoded.message);
  });
  return {
    socket,
    host,
    send: (message) => socket.send(JSON.stringify(message)),
    raw: (data) => socket.send(data),
    chunk: (transfer, offset, bytes) => socket.send(encodeChunk({ transfer, offset, bytes })),
    async next<T extends ClientMessage["type"]>(...types: T[]) {
      for (;;) {
        const message = await messages.next();
        if (types.includes(message.type as T)) return message as ClientMessageOf<T>;
      }
    },
    nextChunk: chunks.next,
    closed: new Promise((resolve) => socket.on("close", resolve)),
  };
}

function queue<T>() {
  const items: T[] = [];
  const waiting: ((item: T) => void)[] = [];
  return {
    push(item: T): void {
      const taker = waiting.shift();
      if (taker) taker(item);
      else items.push(item);
    },
    next: (): Promise<T> =>
      items.length > 0
        ? Promise.resolve(items.shift()!)
        : new Promise((resolve) => waiting.push(resolve)),
  };
}
