import { randomFillSync } from "node:crypto";
import type { Agent } from "node:http";
import { checkServerIdentity, type PeerCertificate } from "node:tls";
import { Worker } from "node:worker_threads";
// Before ws.
import "./node-masks.js";
import { WebSocket } from "ws";
import { MAX_FRAME_BYTES } from "../protocol/chunks.js";
import { storedIdentity } from "./node-identity.js";
import { allowRelaxedSimd } from "./node-kernels.js";
import { openStateFolder } from "./node-state.js";
import type { Identity, Platform, Socket, SocketOptions, WorkerPort } from "./platform.js";

export interface NodeOptions {
  /** Who this client is, instead of the key kept in its state folder: a laboratory's. */
  readonly identity?: Identity;
  /**
   * Lets Node 20 run the relaxed-SIMD kernels. A switch of V8's that holds for the whole process,
   * so only a program that owns its process may ask for it; newer Node has them anyway.
   */
  readonly relaxedSimd?: boolean;
  /**
   * Makes the connection to the aggregator, in place of a direct one: an agent for a proxy, such as
   * those of `https-proxy-agent` and `socks-proxy-agent`.
   */
  readonly agent?: Agent;
}

/** The platform of Node and of Electron's main and utility processes. */
export function nodePlatform(options: NodeOptions = {}): Platform {
  // A worker cannot be given V8 flags of its own.
  if (options.relaxedSimd) allowRelaxedSimd();
  return {
    openSocket: (url, socket) => openSocket(url, socket, options.agent),
    openState: openStateFolder,
    identity: async (store) => options.identity ?? storedIdentity(store),
    startWorker,
  };
}

/**
 * How long to wait for the other end's close frame, in milliseconds; a process that ends waits no
 * longer.
 */
const CLOSE = 3000;

/** Masks of frames, drawn many at a time. */
const masks = new Int32Array(2048);
let masksUsed = masks.length;

/** What `ws` masks is a copy; with a mask of zeros it would send the memory that it was given. */
function generateMask(mask: Buffer): void {
  do {
    if (masksUsed === masks.length) {
      randomFillSync(masks);
      masksUsed = 0;
    }
    mask.writeInt32LE(masks[masksUsed++]);
  } while (mask.readInt32LE() === 0);
}

function openSocket(url: string, { tls }: SocketOptions, agent?: Agent): Socket {
  const line = new WebSocket(url, {
    perMessageDeflate: false,
    maxPayload: MAX_FRAME_BYTES,
    skipUTF8Validation: false,
    generateMask,
    ...(agent && through(agent, url)),
    ...tls,
  });
  let problem = "";
  const socket: Socket = {
    copies: true,
    get bufferedAmount() {
      return line.bufferedAmount;
    },
    send(data) {
      // A connection that is closing drops what is sent; onClose tells its end.
      if (line.readyState === WebSocket.OPEN) line.send(data);
    },
    close(code = 1000, reason = "") {
      if (line.readyState === WebSocket.CONNECTING) line.terminate();
      else line.close(code, reason);
      setTimeout(() => line.terminate(), CLOSE).unref();
    },
  };
  line.binaryType = "nodebuffer";
  let opened = false;
  line.on("open", () => {
    opened = true;
    socket.onOpen?.();
  });
  line.on("message", (data: Buffer, isBinary: boolean) =>
    socket.onMessage?.(isBinary ? data : data.toString("utf8")),
  );
  line.on("error", (error: NodeJS.ErrnoException) => {
    problem = (opened ? undefined : certificateProblem(error, url, tls)) ?? error.message;
  });
  line.on("close", (code, reason) => socket.onClose?.(code, reason.toString() || problem));
  return socket;
}

/** Options of a connection that an agent makes. */
function through(agent: Agent, url: string) {
  // Whom the other end's certificate is to name; an agent need not know it of an IP address.
  const host = new URL(url).hostname.replace(/^\[(.*)\]$/, "$1");
  return {
    agent,
    checkServerIdentity: (_: string, cert: PeerCertificate) => checkServerIdentity(host, cert),
  };
}

/**
 * Why an aggregator that wants certificates of its clients hung up, as far as this end can tell.
 */
function certificateProblem(
  { code = "" }: NodeJS.ErrnoException,
  url: string,
  tls: SocketOptions["tls"],
): string | undefined {
  if (!url.startsWith("wss:")) return undefined;
  if (tls?.cert === undefined)
    return /CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE/.test(code)
      ? "the aggregator asks for a certificate, and this client has none to show"
      : undefined;
  // Node ends such a connection without an alert.
  return /ALERT|ECONNRESET|EPIPE/.test(code)
    ? "the aggregator ended the connection after the TLS handshake: this client's certificate may be of another authority, expired or revoked"
    : undefined;
}

function startWorker(): WorkerPort {
  const url = new URL("./node-worker.js", import.meta.url);
  let worker: Worker | undefined;
  let reason = "";
  const port: WorkerPort = {
    post: (message, transfer = []) => worker?.postMessage(message, transfer),
    terminate: () => void worker?.terminate(),
  };
  const exit = (why: string) => port.onExit?.(`${why} (${url.href})`);
  try {
    worker = new Worker(url);
  } catch (error) {
    queueMicrotask(() => exit(String(error)));
    return port;
  }
  worker.on("message", (message) => port.onMessage?.(message));
  // Without this listener the error would end the host's process.
  worker.on("error", (error) => (reason = error.message));
  worker.on("exit", (code) => exit(reason || `exit code ${code}`));
  return port;
}
