import type { WebSocket } from "ws";
import type { Socket } from "../../runtime/platform/platform.js";
import type { OthersLog } from "../log.js";
import { frameDone } from "../memory.js";
import type { Traffic } from "../monitoring/metrics.js";
import type { ConnectionPace } from "../sessions/fair-scheduling.js";

/** Bytes that may wait for a client that reads slowly before its WebSocket pings get no answer. */
const MOST_PONGS = 16 * 1024;

/** How long a connection that we close may take for it, in milliseconds. */
const CLOSING = 2000;

/** A WebSocket of `ws` as the aggregator sees connections. */
export function socketOf(
  webSocket: WebSocket,
  pace: ConnectionPace,
  options: {
    readonly traffic: Traffic;
    readonly log: OthersLog;
    /** The aggregator, or a fault of the peer, has ended the connection. */
    readonly ended: (why: string) => void;
  },
): Socket {
  const { traffic, log, ended } = options;
  const socket: Socket = {
    send(data) {
      traffic.sent += data.length;
      webSocket.send(data, sent);
    },
    close(code, reason = "") {
      webSocket.close(code, reason);
      ended(reason);
      // A peer that does not read does not close either.
      const patience = setTimeout(() => webSocket.terminate(), CLOSING);
      webSocket.once("close", () => clearTimeout(patience));
    },
    get bufferedAmount() {
      return webSocket.bufferedAmount;
    },
  };
  const sent = () => {
    if (webSocket.bufferedAmount === 0) socket.onDrain?.();
  };
  webSocket.on("message", (data, binary) => {
    // `ws` hands out one Buffer per message unless told otherwise.
    const bytes = data as Buffer;
    pace.frame(() => {
      traffic.received += bytes.length;
      socket.onMessage?.(binary ? bytes : bytes.toString("utf8"));
      frameDone(bytes.length);
    });
  });
  webSocket.on("ping", (data) =>
    pace.frame(() => {
      // A peer that does not read gets no more answers.
      if (webSocket.bufferedAmount < MOST_PONGS) webSocket.pong(data);
    }),
  );
  // ws has closed the connection with the code that fits (1009 for a frame beyond all limits).
  webSocket.on("error", ({ message }) => {
    ended("broken-frame");
    log.warn({ message }, "closed a connection that broke WebSocket");
  });
  webSocket.on("close", (code, reason) =>
    pace.end(() => socket.onClose?.(code, reason.toString("utf8"))),
  );
  return socket;
}
