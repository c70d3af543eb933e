import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
// Before ws.
import { maskedBy } from "../../runtime/platform/node-masks.js";
import { WebSocketServer, type WebSocket } from "ws";
import { ConfigError } from "../../runtime/errors.js";
import type { Socket } from "../../runtime/platform/platform.js";
import { MAX_FRAME_BYTES } from "../../runtime/protocol/chunks.js";
import type { Aggregator } from "../run/aggregator.js";
import { frameDone } from "../memory.js";
import {
  addressOf,
  dialableHost,
  hasOneHost,
  isDialledLocally,
  isForwarded,
  isLoopback,
  isMeantForUs,
  trustedProxies,
} from "./dialled.js";
import { connectionsAllowed, HEALTH_CONNECTIONS, limitConnections } from "./connection-limit.js";
import { sameText } from "../sessions/authentication.js";
import { Pace, type ConnectionPace } from "../sessions/fair-scheduling.js";
import type { Metrics, Traffic } from "../monitoring/metrics.js";
import type { Role } from "../monitoring/dashboard/messages.js";
import { openSite, type Site } from "../monitoring/dashboard/site.js";

export interface ServerOptions {
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** 0 for any free one. */
  readonly port: number;
  /**
   * Names under which clients may dial besides the loopback's own; `host:port` as it stands in
   * their URL.
   */
  readonly hosts?: readonly string[];
  /**
   * Addresses (127.0.0.1) and networks (10.0.0.0/8) of proxies whose `X-Forwarded-For` tells from
   * where a client comes.
   */
  readonly trustedProxies?: readonly string[];
  /**
   * Web pages that may connect (`https://app.example.org`); a browser on the loopback's own pages
   * always may.
   */
  readonly origins?: readonly string[];
  /** Serve more than loopback, or under a public name, although every key is admitted. */
  readonly openToAll?: boolean;
  /** Whoever knows a model's hash may fetch it. */
  readonly publicModels?: boolean;
  /**
   * Most WebSockets at a time; by default 10,000. Never more than the process has file descriptors
   * for.
   */
  readonly connections?: number;
  /**
   * Most connections of one address; by default 256, on loopback as many as there may be in all.
   * Those of trusted proxies are counted by the client's address.
   */
  readonly connectionsPerAddress?: number;
  /**
   * Serve wss and https. With `ca`, clients must have a certificate of that authority (mutual TLS)
   * that is not in `crl`, its list of revoked ones. All in PEM.
   */
  readonly tls?: {
    readonly cert: string;
    readonly key: string;
    readonly ca?: string;
    readonly crl?: string;
  };
  /**
   * Who brings this as a bearer may look at the run from anywhere, and hold, release and stop it.
   */
  readonly adminToken?: string;
  /** Milliseconds in which a connection must say what it wants; default 10,000. */
  readonly headersTimeout?: number;
  /**
   * A second port, on loopback, for `/livez`, `/readyz` and `/status` alone: it answers when the
   * first one is flooded.
   */
  readonly healthPort?: number;
  /** What `/metrics` answers with; 404 where not given. */
  readonly metrics?: Metrics;
}

export interface AggregatorServer {
  /** Where clients dial: `ws://127.0.0.1:7400`. */
  readonly url: string;
  readonly port: number;
  /** Of `healthPort`, where there is one. */
  readonly healthPort?: number;
  /** Takes no more connections and closes those that are open. */
  close(): Promise<void>;
}

/** Shorter ones can be guessed, and others do not fit into a header. */
const ADMIN_TOKEN = /^[!-~]{16,1024}$/;

/**
 * Puts an aggregator on a port: WebSockets on any path, and beside them `GET /blobs/<sha256>`
 * (models), `/livez`, `/readyz`, and for who may look at the run (on loopback, or by the token of
 * the lab or of the admin as the bearer) `/status`, `/metrics` and the live page at `/`
 * (page/site.ts).
 * @throws ConfigError `admin-token` (less than 16 characters, or a space), `no-authentication` (not
 * loopback, yet every key is admitted), `port-in-use`, `cannot-listen`, `file-descriptors` (the
 * process may open too few).
 */
export async function listen(
  aggregator: Aggregator,
  options: ServerOptions,
): Promise<AggregatorServer> {
  const { host = "127.0.0.1", port, tls, adminToken, metrics } = options;
  const given = (options.hosts ?? []).map((name) => name.toLowerCase());
  const names = { host, tls: tls !== undefined, given };
  const proxies = trustedProxies(options.trustedProxies ?? []);
  // With a name for others, what comes over the loopback may be a proxy's.
  const loopback = isLoopback(host) && given.length === 0;
  const allowed = connectionsAllowed(options.connections);
  const isOpen = aggregator.admission.kind === "any" && tls?.ca === undefined;
  if (!loopback && isOpen && options.openToAll !== true)
    throw new ConfigError(
      "no-authentication",
      `${isLoopback(host) ? `"public name" expected none` : `"host" expected a loopback address`} while every key is admitted, got ${isLoopback(host) ? given[0] : host}: ask for a token or enrolled keys, or say that the aggregator is open to all`,
    );

  if (adminToken !== undefined && !ADMIN_TOKEN.test(adminToken))
    throw new ConfigError(
      "admin-token",
      `"admin token" expected at least 16 letters, digits or signs without a space, got ${adminToken.length} characters`,
    );

  if (maskedBy === "ws")
    aggregator.log.warn({}, "frames are unmasked byte by byte: this version of ws is not known");
  const traffic: Traffic = { received: 0, sent: 0 };
  const ended = (why: string) => metrics?.ended(why);
  const pace = new Pace();
  const site = openSite(aggregator, {
    traffic,
    hasAdmin: adminToken !== undefined,
    asks: askedFor(adminToken !== undefined, aggregator.admission.kind === "token"),
    roleOf,
    keep: (connection) => connections.keep(connection),
  });
  const handler = (request: IncomingMessage, response: ServerResponse) =>
    answer(
      aggregator,
      {
        publicModels: options.publicModels,
        metrics,
        traffic,
        site,
        isOurs,
        keep: connections.keep,
        mayLook: (request) => roleOf(request) !== undefined,
      },
      request,
      response,
    );
  const http: Server =
    tls === undefined
      ? createServer(timeouts(options.headersTimeout), handler)
      : createTlsServer(
          {
            ...timeouts(options.headersTimeout),
            ...tls,
            minVersion: "TLSv1.2",
            handshakeTimeout: 10_000,
            requestCert: tls.ca !== undefined,
            // By TLS itself, not by a look at each request: a session resumed without a certificate
            // counts as authorized there.
            rejectUnauthorized: tls.ca !== undefined,
          },
          handler,
        ).on("tlsClientError", (error: NodeJS.ErrnoException, socket) =>
          turnedAway("tls", {
            address: socket.remoteAddress,
            // Why the certificate is not taken; else what went wrong in the handshake.
            reason: String(socket.authorizationError ?? error.code ?? error.message),
          }),
        );
  http.maxHeadersCount = 64;
  const connections = limitConnections(http, {
    most: allowed.inAll,
    perAddress: options.connectionsPerAddress ?? 256,
    // On loopback one address is whoever uses this machine, or a proxy that nobody named.
    isProxy: (address) =>
      proxies.has(address) || (options.connectionsPerAddress === undefined && isLoopback(host)),
    closed: (why, address) => turnedAway(why, { address }),
  });
  const sockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: MAX_FRAME_BYTES,
    maxFragments: 64,
    maxBufferedChunks: 1024,
    // One frame at a turn of the event loop: a packet full of small ones must not hold it up.
    allowSynchronousEvents: false,
    // Answered below, no faster than other frames.
    autoPong: false,
    // No subprotocol is agreed on, whatever is offered.
    handleProtocols: () => false,
  });
  http.on("upgrade", (request, socket: Duplex, head) => {
    socket.on("error", destroyThis);
    const address = addressOf(request, proxies);
    const refusal = refusalOf(request, address);
    if (refusal !== undefined) {
      const { status, header = "" } = refusal;
      turnedAway(refusal.why, { address, reason: refusal.reason });
      socket.end(`HTTP/1.1 ${status}\r\n${header}Connection: close\r\nContent-Length: 0\r\n\r\n`);
      return;
    }
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      const { remoteAddress, remotePort } = request.socket;
      const ends = { remoteAddress, remotePort };
      connections.isWebSocket(ends);
      aggregator.attach(
        socketOf(webSocket, aggregator, traffic, ended, pace.connection(webSocket)),
        {
          host: request.headers.host!.toLowerCase(),
          address,
          proven: () => connections.keep(ends),
        },
      );
    });
  });

  function turnedAway(
    why: string,
    facts: { readonly address?: string; readonly reason?: string },
  ): void {
    ended(why);
    aggregator.othersLog.warn({ why, ...facts }, "refused a connection");
    aggregator.turnedAway(facts.reason ?? why, facts.address);
  }

  /** Meant for this server: what a signed proof, or a page's request, must have been. */
  const isOurs = (request: IncomingMessage): boolean =>
    isMeantForUs(request, names) || (isOpen && options.openToAll === true);

  /** The admin by the token; a viewer by that of the lab, or on this machine, dialled as such. */
  function roleOf(request: IncomingMessage): Role | undefined {
    const { admission } = aggregator;
    const bearer = bearerOf(request);
    const tokens = adminToken !== undefined || admission.kind === "token";
    if (bearer !== undefined && tokens) {
      if (adminToken !== undefined && sameText(bearer, adminToken)) return "admin";
      return admission.kind === "token" && sameText(bearer, admission.token) ? "viewer" : undefined;
    }
    return loopback && isDialledLocally(request) ? "viewer" : undefined;
  }

  function refusalOf(
    request: IncomingMessage,
    address: string,
  ): { status: string; why: string; reason: string; header?: string } | undefined {
    const { headers, httpVersion } = request;
    if (httpVersion !== "1.1" || !hasOneHost(request))
      return {
        status: "400 Bad Request",
        why: "request",
        reason: httpVersion === "1.1" ? "more than one Host" : `HTTP/${httpVersion}`,
      };
    if (headers["sec-websocket-version"] !== "13")
      return {
        status: "426 Upgrade Required",
        why: "request",
        reason: `version ${headers["sec-websocket-version"]} of WebSocket`,
        header: "Sec-WebSocket-Version: 13\r\n",
      };
    if (!isOurs(request))
      return {
        status: "421 Misdirected Request",
        why: "host",
        reason: `host ${request.headers.host}`,
      };
    if (isOpen && options.openToAll !== true && isForwarded(request))
      return {
        status: "403 Forbidden",
        why: "forwarded",
        reason: "it came by way of a proxy, while every key is admitted",
      };
    const { origin } = headers;
    if (
      origin !== undefined &&
      !isLoopback(originHost(origin)) &&
      !(options.origins ?? []).includes(origin)
    )
      return {
        status: "403 Forbidden",
        why: "origin",
        reason: `origin ${origin}`,
      };
    if (address !== request.socket.remoteAddress && !connections.comesFrom(request.socket, address))
      return {
        status: "429 Too Many Requests",
        why: "address",
        reason: "too many connections of this address",
      };
    if (sockets.clients.size >= allowed.webSockets && !connections.makeRoomForWebSocket())
      return {
        status: "503 Service Unavailable",
        why: "full",
        reason: "too many connections",
      };
    return undefined;
  }

  const isForHealth = (request: IncomingMessage): boolean =>
    isMeantForUs(request, { host: "127.0.0.1", tls: false, given: [] });

  await listening(http, host, port);
  const address = http.address() as AddressInfo;
  let health: Server | undefined;
  if (options.healthPort !== undefined) {
    health = createServer(timeouts(), (request, response) =>
      answer(
        aggregator,
        { metrics, traffic, isOurs: isForHealth, mayLook: isDialledLocally, keep() {} },
        request,
        response,
      ),
    );
    health.maxConnections = HEALTH_CONNECTIONS;
    await listening(health, "127.0.0.1", options.healthPort).catch((error: unknown) => {
      http.close();
      throw error;
    });
  }
  return {
    healthPort: health && (health.address() as AddressInfo).port,
    url: `${tls ? "wss" : "ws"}://${dialableHost(host)}:${address.port}`,
    port: address.port,
    async close() {
      for (const webSocket of sockets.clients) webSocket.close(1012, "restarting");
      site.close();
      const closed = new Promise((resolve) => http.close(resolve));
      health?.close();
      health?.closeAllConnections();
      http.closeIdleConnections();
      const patience = setTimeout(() => {
        for (const webSocket of sockets.clients) webSocket.terminate();
        http.closeAllConnections();
      }, 1000);
      await closed;
      clearTimeout(patience);
    },
  };
}

/**
 * @param headersTimeout milliseconds for the headers of a request, from the opening of its
 * connection on
 */
const timeouts = (headersTimeout = 10_000) => ({
  headersTimeout,
  requestTimeout: 3 * headersTimeout,
  keepAliveTimeout: 5_000,
  // Half requests are looked for this often.
  connectionsCheckingInterval: headersTimeout / 5,
});

/** What a page is told that has no token, or a wrong one. */
function askedFor(hasAdmin: boolean, hasToken: boolean): string {
  const files = [hasAdmin && "--admin-token-file", hasToken && "--token-file"].filter(Boolean);
  return files.length > 0
    ? `This page asks for the token in the file of ${files.join(" or ")}.`
    : "This page is not shown from here: the aggregator was started without --admin-token-file, by whose token it could be.";
}

/** Outside, so that no connection keeps the request that opened it in memory. */
function destroyThis(this: Duplex): void {
  this.destroy();
}

function originHost(origin: string): string {
  try {
    return new URL(origin).hostname;
  } catch {
    return "";
  }
}

function listening(http: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    http.once("error", (error: NodeJS.ErrnoException) =>
      reject(
        error.code === "EADDRINUSE"
          ? new ConfigError(
              "port-in-use",
              `"port" expected a free port, got ${port}, which another program uses`,
            )
          : new ConfigError(
              "cannot-listen",
              `"host" expected an address of this machine, got ${host} (${error.message})`,
            ),
      ),
    );
    http.listen(port, host, () => {
      http.removeAllListeners("error");
      http.on("error", () => {});
      resolve();
    });
  });
}

/** Bytes that may wait for a client that reads slowly before its WebSocket pings get no answer. */
const MOST_PONGS = 16 * 1024;

/** How long a connection that we close may take for it, in milliseconds. */
const CLOSING = 2000;

/** A WebSocket of `ws` as the aggregator sees connections. */
function socketOf(
  webSocket: WebSocket,
  aggregator: Aggregator,
  traffic: Traffic,
  ended: (why: string) => void,
  pace: ConnectionPace,
): Socket {
  const socket: Socket = {
    send(data) {
      traffic.sent += data.length;
      webSocket.send(data, sent);
    },
    close(code, reason = "") {
      webSocket.close(code, reason);
      ended(reason);
      // Whoever does not read does not close either.
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
      // Who does not read gets no more answers.
      if (webSocket.bufferedAmount < MOST_PONGS) webSocket.pong(data);
    }),
  );
  // ws has closed the connection with the code that fits (1009 for a frame beyond all limits).
  webSocket.on("error", ({ message }) => {
    ended("broken-frame");
    aggregator.othersLog.warn({ message }, "closed a connection that broke WebSocket");
  });
  webSocket.on("close", (code, reason) =>
    pace.end(() => socket.onClose?.(code, reason.toString("utf8"))),
  );
  return socket;
}

function answer(
  aggregator: Aggregator,
  options: Pick<ServerOptions, "publicModels" | "metrics"> & {
    readonly traffic: Traffic;
    readonly site?: Site;
    mayLook(request: IncomingMessage): boolean;
    isOurs(request: IncomingMessage): boolean;
    /** This connection has shown that it may be here. */
    keep(connection: IncomingMessage["socket"]): void;
  },
  request: IncomingMessage,
  response: ServerResponse,
): void {
  response.setHeader("x-content-type-options", "nosniff");
  response.setHeader("content-security-policy", "default-src 'none'");
  const end = (status: number, text = "") => {
    response
      .writeHead(status, {
        "content-type": "text/plain",
        "cache-control": "no-store",
      })
      .end(text);
  };
  if (!hasOneHost(request)) return end(400);
  const path = request.url ?? "/";
  const reads = request.method === "GET" || request.method === "HEAD";
  switch (reads && path) {
    case "/livez":
      return end(200, "alive\n");
    case "/readyz":
      return aggregator.ready ? end(200, "ready\n") : end(503, "not ready\n");
  }
  // A probe may dial by any address; for all else a page that had its own name lead here would be
  // let in.
  if (!options.isOurs(request)) return end(421);
  if (options.site?.answer(request, response)) return;
  if (!reads) return end(405);
  if (path === "/status" || path === "/metrics") {
    if (!options.mayLook(request)) return end(401);
    if (!aggregator.begun) return end(503, "the run has not begun\n");
    if (path === "/metrics") {
      if (options.metrics === undefined) return end(404);
      return void tell(options.metrics, options.traffic, response);
    }
    response
      .writeHead(200, { "content-type": "application/json" })
      .end(JSON.stringify(aggregator.status(), null, 2) + "\n");
    return;
  }
  const blob = /^\/blobs\/([0-9a-f]{64})$/.exec(path);
  if (blob === null) return end(404);
  const bearer = bearerOf(request);
  if (options.publicModels !== true && (bearer === undefined || !aggregator.opens(bearer)))
    return end(401);
  const bytes = aggregator.blob(blob[1]);
  if (bytes === undefined) return end(404);
  if (bearer !== undefined && aggregator.opens(bearer)) options.keep(request.socket);
  sendBytes(request, response, bytes);
}

const bearerOf = (request: IncomingMessage): string | undefined =>
  /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? "")?.[1];

async function tell(metrics: Metrics, traffic: Traffic, response: ServerResponse): Promise<void> {
  const text = await metrics.text(traffic);
  response.writeHead(200, { "content-type": metrics.contentType }).end(text);
}

/** Answers with the bytes, or with those from `Range: bytes=N-` on. */
function sendBytes(request: IncomingMessage, response: ServerResponse, bytes: Uint8Array): void {
  const range = /^bytes=(\d+)-$/.exec(request.headers.range ?? "");
  const from = range ? Number(range[1]) : 0;
  if (range && from >= bytes.length) {
    response.writeHead(416, { "content-range": `bytes */${bytes.length}` }).end();
    return;
  }
  response.writeHead(range ? 206 : 200, {
    "content-type": "application/octet-stream",
    "content-length": bytes.length - from,
    "accept-ranges": "bytes",
    "cache-control": "private, immutable, max-age=86400",
    ...(range && {
      "content-range": `bytes ${from}-${bytes.length - 1}/${bytes.length}`,
    }),
  });
  response.end(request.method === "HEAD" ? undefined : bytes.subarray(from));
}
