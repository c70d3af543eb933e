import { readFileSync } from "node:fs";
import type { Server } from "node:http";
import type { Socket } from "node:net";
import { ConfigError } from "../../runtime/errors.js";

/**
 * The connections of a port, within the file descriptors that the process has. A client that has
 * authenticated keeps its place; when all are taken, a newcomer gets that of the stranger who has
 * been here longest, so that silent connections, however many, cannot keep clients out.
 */
export interface Connections {
  /**
   * Marks a client that has authenticated: it is not closed to make room. Either socket of a TLS
   * pair will do.
   */
  keep(connection: Ends): void;
  /** This stranger has become a WebSocket. */
  isWebSocket(connection: Ends): void;
  /**
   * Counts the connection for the address that a trusted proxy names. False where that address has
   * as many as it is allowed; then it counts nowhere.
   */
  comesFrom(connection: Ends, address: string): boolean;
  /**
   * Closes the stranger's WebSocket that has been open longest; false where all belong to clients.
   */
  makeRoomForWebSocket(): boolean;
}

/** What tells one connection of a port from another. */
type Ends = Pick<Socket, "remoteAddress" | "remotePort">;

const nameOf = ({ remoteAddress, remotePort }: Ends): string => `${remoteAddress} ${remotePort}`;

interface Stranger {
  readonly socket: Socket;
  isWebSocket: boolean;
}

export function limitConnections(
  http: Server,
  options: {
    /** Connections at a time. */
    readonly most: number;
    /** Connections of one address, those of proxies that are trusted not counted. */
    readonly perAddress: number;
    readonly isProxy: (address: string) => boolean;
    /** One was closed: `full`, or its address has as many as it may. */
    readonly closed: (why: "full" | "address", address: string) => void;
  },
): Connections {
  const { most, perAddress, isProxy, closed } = options;
  const byAddress = new Map<string, number>();
  /** Connections by way of a proxy, and their addresses. */
  const forwarded = new Map<string, string>();
  /** In the order in which they came. */
  const strangers = new Map<string, Stranger>();
  let open = 0;

  function close(socket: Socket, why: "full" | "address"): void {
    closed(why, socket.remoteAddress ?? "unknown");
    socket.destroy();
  }

  function closeOldest(onlyWebSockets: boolean): boolean {
    for (const [name, { socket, isWebSocket }] of strangers) {
      if (onlyWebSockets && !isWebSocket) continue;
      strangers.delete(name);
      close(socket, "full");
      return true;
    }
    return false;
  }

  /** One more connection of an address; false where it has as many as it may. */
  function count(address: string): boolean {
    const ofAddress = (byAddress.get(address) ?? 0) + 1;
    if (ofAddress > perAddress) return false;
    byAddress.set(address, ofAddress);
    return true;
  }

  function uncount(address: string): void {
    const left = byAddress.get(address)! - 1;
    if (left > 0) byAddress.set(address, left);
    else byAddress.delete(address);
  }

  http.on("connection", (socket: Socket) => {
    const name = nameOf(socket);
    const address = socket.remoteAddress ?? "unknown";
    const direct = !isProxy(address);
    if (direct && !count(address)) return close(socket, "address");
    if (open >= most && !closeOldest(false)) {
      if (direct) uncount(address);
      return close(socket, "full");
    }
    open++;
    strangers.set(name, { socket, isWebSocket: false });
    socket.once("close", () => {
      open--;
      strangers.delete(name);
      if (direct) uncount(address);
      const from = forwarded.get(name);
      if (from !== undefined) uncount(from);
      forwarded.delete(name);
    });
  });

  return {
    keep: (connection) => void strangers.delete(nameOf(connection)),
    isWebSocket(connection) {
      const stranger = strangers.get(nameOf(connection));
      if (stranger !== undefined) stranger.isWebSocket = true;
    },
    comesFrom(connection, address) {
      if (!count(address)) return false;
      forwarded.set(nameOf(connection), address);
      return true;
    },
    makeRoomForWebSocket: () => closeOldest(true),
  };
}

/** WebSockets, where there are file descriptors for as many. */
const MOST_WEBSOCKETS = 10_000;
/**
 * Connections beside the WebSockets, where there are as many: models over HTTP, probes, those that
 * are refused with a status.
 */
const SPARE = 64;
/**
 * File descriptors left to the process: journal, checkpoints, workers, keys, and the health port.
 */
const RESERVED = 64;
/** With less than this there is no point in listening. */
const LEAST = 16;

/** Connections of the health port. */
export const HEALTH_CONNECTIONS = 16;

/**
 * How many WebSockets there may be, and connections in all.
 * @param webSockets the operator's own limit
 * @throws ConfigError `file-descriptors` where the system allows too few.
 */
export function connectionsAllowed(
  webSockets: number | undefined,
  descriptors = descriptorsAllowed(),
): { readonly webSockets: number; readonly inAll: number } {
  const free = descriptors - RESERVED;
  if (free < LEAST)
    throw new ConfigError(
      "file-descriptors",
      `"ulimit -n" expected at least ${RESERVED + LEAST} file descriptors, got ${descriptors}`,
    );
  const spare = Math.min(SPARE, Math.ceil(free / 4));
  const most = Math.min(webSockets ?? MOST_WEBSOCKETS, free - spare);
  return { webSockets: most, inAll: most + spare };
}

/** The process's limit of file descriptors; Infinity where the system does not say. */
function descriptorsAllowed(): number {
  try {
    const limits = readFileSync("/proc/self/limits", "utf8");
    const [, soft] = /^Max open files\s+(\d+)/m.exec(limits) ?? [];
    if (soft !== undefined) return Number(soft);
  } catch {
    // Not Linux.
  }
  return Infinity;
}
