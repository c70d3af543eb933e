import { createServer, type IncomingMessage, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
// Before ws.
import { maskedBy } from "../../runtime/platform/node-masks.js";
import { WebSocketServer } from "ws";
import { ConfigError } from "../../runtime/errors.js";
import { MAX_FRAME_BYTES } from "../../runtime/protocol/chunks.js";
import type { Aggregator } from "../run/aggregator.js";
import {
  addressOf,
  dialableHost,
  isDialledLocally,
  isLoopback,
  isMeantForUs,
  trustedProxies,
  type Proxies,
} from "./dialled.js";
import {
  connectionsAllowed,
  HEALTH_CONNECTIONS,
  limitConnections,
  type Connections,
} from "./connection-limit.js";
import { sameText, type Admission } from "../sessions/authentication.js";
import { Pace } from "../sessions/fair-scheduling.js";
import type { Metrics, Traffic } from "../monitoring/metrics.js";
import type { Role } from "../monitoring/dashboard/messages.js";
import { openSite } from "../monitoring/dashboard/site.js";
import { answer, answerUnopened, bearerOf, type Served } from "./routes.js";
import { upgradeRefusal, type UpgradeRules } from "./upgrade.js";
import { socketOf } from "./web-socket.js";

export interface ServerOptions {
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** 0 for any free one. */
  readonly port: number;
  /**
   * Names under which clients dial, in addition to the loopback's own; `host:port` as it stands in
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
  /** Anybody who knows a model's hash can fetch it. */
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
   * The bearer of this token can view the run from anywhere, and hold, release and stop it.
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
  /** What clients dial. */
  readonly url: string;
  readonly port: number;
  /** Of `healthPort`, where there is one. */
  readonly healthPort?: number;
  /** Takes no more connections and closes those that are open. */
  close(): Promise<void>;
}

/** A port that is open and has no aggregator yet: it answers 503, and 200 to `/livez`. */
export interface OpenPort extends AggregatorServer {
  /** Lets clients and pages in to this aggregator from now on. */
  serve(aggregator: Aggregator, metrics?: Metrics): AggregatorServer;
}

/**
 * Puts an aggregator on a port: WebSockets on any path, and `GET /blobs/<sha256>` (models),
 * `/livez`, `/readyz`, and for viewers of the run (on loopback, or by the token of the lab or of
 * the admin as the bearer) `/status`, `/metrics` and the live page at `/`.
 * @throws ConfigError `admin-token` (less than 16 characters, or a space), `no-authentication` (not
 * loopback, yet every key is admitted), `trusted-proxy`, `port-in-use`, `cannot-listen`,
 * `file-descriptors` (the process may open too few).
 */
export async function listen(
  aggregator: Aggregator,
  options: ServerOptions,
): Promise<AggregatorServer> {
  const port = await openPort({ ...options, admission: aggregator.admission });
  return port.serve(aggregator, options.metrics);
}

type PortOptions = Omit<ServerOptions, "metrics"> & {
  /** Of the aggregator that will be served. */
  readonly admission?: Admission;
};

/** A port that is open, and what `serve` sets. */
interface Bound {
  readonly options: PortOptions;
  readonly place: Place;
  readonly http: Server;
  readonly health: Server | undefined;
  readonly sockets: WebSocketServer;
  /** WebSockets at a time. */
  readonly most: number;
  readonly connections: Connections;
  /** A connection was refused, for one of a few reasons of the server's own. */
  turnedAway: (why: string, facts: Refused) => void;
  closeSite: () => void;
}

interface Refused {
  readonly address?: string;
  readonly reason?: string;
}

/**
 * Opens a port before there is an aggregator, so that a port that cannot be had leaves no run
 * behind.
 * @throws ConfigError as `listen` does.
 */
export async function openPort(options: PortOptions): Promise<OpenPort> {
  const { host = "127.0.0.1", tls } = options;
  const place = placeOf(options);
  const allowed = connectionsAllowed(options.connections);
  const turnedAway = (why: string, facts: Refused): void => bound.turnedAway(why, facts);
  const http = httpServer(options, turnedAway);
  const connections = limitConnections(http, {
    most: allowed.inAll,
    perAddress: options.connectionsPerAddress ?? 256,
    // On loopback one address stands for all users of this machine, or for an unnamed proxy.
    isProxy: (address) =>
      place.proxies.has(address) ||
      (options.connectionsPerAddress === undefined && isLoopback(host)),
    closed: (why, address) => turnedAway(why, { address }),
  });
  http.on("request", answerUnopened).on("upgrade", refuseUnopened);
  const sockets = webSocketServer();
  let health: Server | undefined;
  const bound: Bound = {
    ...{ options, place, http, sockets, connections },
    most: allowed.webSockets,
    get health() {
      return health;
    },
    turnedAway() {},
    closeSite() {},
  };
  await listening(http, host, options.port);
  if (options.healthPort !== undefined) {
    health = createServer(timeouts(), answerUnopened);
    health.maxConnections = HEALTH_CONNECTIONS;
    await listening(health, "127.0.0.1", options.healthPort).catch((error: unknown) => {
      http.close();
      throw error;
    });
  }
  const { port } = http.address() as AddressInfo;
  const server: AggregatorServer = {
    healthPort: health && (health.address() as AddressInfo).port,
    url: `${tls ? "wss" : "ws"}://${dialableHost(host)}:${port}`,
    port,
    close: () => close(bound),
  };
  return {
    ...server,
    serve(aggregator, metrics) {
      serve(bound, aggregator, metrics);
      return server;
    },
  };
}

/** Hands requests and WebSockets to an aggregator. */
function serve(bound: Bound, aggregator: Aggregator, metrics: Metrics | undefined): void {
  const { options, place, http, health, connections } = bound;
  const { adminToken, publicModels } = options;
  if (maskedBy === "ws")
    aggregator.log.warn({}, "frames are unmasked byte by byte: this version of ws is not known");
  const ended = (why: string): void => metrics?.ended(why);
  bound.turnedAway = (why, facts) => {
    ended(why);
    aggregator.othersLog.warn({ why, ...facts }, "refused a connection");
    aggregator.turnedAway(facts.reason ?? why, facts.address);
  };
  const traffic: Traffic = { received: 0, sent: 0 };
  const site = openSite(aggregator, {
    traffic,
    hasAdmin: adminToken !== undefined,
    asks: askedFor(adminToken !== undefined, place.labToken !== undefined),
    roleOf: place.roleOf,
    keep: connections.keep,
  });
  bound.closeSite = () => site.close();
  const shared = { aggregator, metrics, traffic };
  const served: Served = {
    ...{ ...shared, site, publicModels },
    isOurs: place.isOurs,
    mayLook: (request) => place.roleOf(request) !== undefined,
    keep: connections.keep,
  };
  const forHealth: Served = {
    ...shared,
    isOurs: isForHealth,
    mayLook: isDialledLocally,
    keep() {},
  };
  http.off("request", answerUnopened);
  http.on("request", (request, response) => answer(served, request, response));
  health?.off("request", answerUnopened);
  health?.on("request", (request, response) => answer(forHealth, request, response));
  http.off("upgrade", refuseUnopened);
  takeWebSockets(bound, aggregator, { traffic, log: aggregator.othersLog, ended });
}

/** Opens a WebSocket where nothing speaks against it, and attaches it to the aggregator. */
function takeWebSockets(
  bound: Bound,
  aggregator: Aggregator,
  socketOptions: Parameters<typeof socketOf>[2],
): void {
  const { options, place, http, sockets, connections } = bound;
  const rules: UpgradeRules = {
    isOurs: place.isOurs,
    refusesProxies: place.isOpen && options.openToAll !== true,
    origins: options.origins ?? [],
    count: (request, address) =>
      address === request.socket.remoteAddress || connections.comesFrom(request.socket, address),
    hasRoom: () => sockets.clients.size < bound.most || connections.makeRoomForWebSocket(),
  };
  const pace = new Pace();
  http.on("upgrade", (request, socket: Duplex, head) => {
    socket.on("error", destroyThis);
    const address = addressOf(request, place.proxies);
    const refusal = upgradeRefusal(request, address, rules);
    if (refusal !== undefined) {
      bound.turnedAway(refusal.why, { address, reason: refusal.reason });
      return refuse(socket, refusal.status, refusal.header);
    }
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      const { remoteAddress, remotePort } = request.socket;
      const ends = { remoteAddress, remotePort };
      connections.isWebSocket(ends);
      aggregator.attach(socketOf(webSocket, pace.connection(webSocket), socketOptions), {
        host: request.headers.host!.toLowerCase(),
        address,
        proven: () => connections.keep(ends),
      });
    });
  });
}

function refuse(socket: Duplex, status: string, header = ""): void {
  socket.end(`HTTP/1.1 ${status}\r\n${header}Connection: close\r\nContent-Length: 0\r\n\r\n`);
}

function refuseUnopened(_request: IncomingMessage, socket: Duplex): void {
  socket.on("error", destroyThis);
  refuse(socket, "503 Service Unavailable");
}

async function close({ http, health, sockets, closeSite }: Bound): Promise<void> {
  for (const webSocket of sockets.clients) webSocket.close(1012, "restarting");
  closeSite();
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
}

/** Shorter ones can be guessed, and others do not fit into a header. */
const ADMIN_TOKEN = /^[!-~]{16,1024}$/;

/** Under which names a port is dialled, and what its users may do. */
interface Place {
  readonly proxies: Proxies;
  /** Every key is admitted. */
  readonly isOpen: boolean;
  /** With it a viewer looks at the run, and a client joins. */
  readonly labToken: string | undefined;
  /** Meant for this server: what a signed proof, or a page's request, must have been. */
  isOurs(this: void, request: IncomingMessage): boolean;
  /** The admin by the token; a viewer by that of the lab, or on this machine, dialled as such. */
  roleOf(this: void, request: IncomingMessage): Role | undefined;
}

/** @throws ConfigError `trusted-proxy`, `no-authentication`, `admin-token`. */
function placeOf(options: PortOptions): Place {
  const { host = "127.0.0.1", tls, adminToken, openToAll, admission } = options;
  const given = (options.hosts ?? []).map((name) => name.toLowerCase());
  const names = { host, tls: tls !== undefined, given };
  const proxies = trustedProxies(options.trustedProxies ?? []);
  // With a name for others, what comes over the loopback may be a proxy's.
  const loopback = isLoopback(host) && given.length === 0;
  const isOpen = (admission === undefined || admission.kind === "any") && tls?.ca === undefined;
  if (!loopback && isOpen && openToAll !== true)
    throw new ConfigError(
      "no-authentication",
      `${isLoopback(host) ? `"public name" expected none` : `"host" expected a loopback address`} while every key is admitted, got ${isLoopback(host) ? given[0] : host}: ask for a token or enrolled keys, or say that the aggregator is open to all`,
    );
  if (adminToken !== undefined && !ADMIN_TOKEN.test(adminToken))
    throw new ConfigError(
      "admin-token",
      `"admin token" expected at least 16 letters, digits or signs without a space, got ${adminToken.length} characters`,
    );
  const labToken = admission?.kind === "token" ? admission.token : undefined;
  return {
    ...{ proxies, isOpen, labToken },
    isOurs: (request) => isMeantForUs(request, names) || (isOpen && openToAll === true),
    roleOf(request) {
      const bearer = bearerOf(request);
      if (bearer !== undefined && (adminToken ?? labToken) !== undefined) {
        if (adminToken !== undefined && sameText(bearer, adminToken)) return "admin";
        return labToken !== undefined && sameText(bearer, labToken) ? "viewer" : undefined;
      }
      return loopback && isDialledLocally(request) ? "viewer" : undefined;
    },
  };
}

/** A request to the health port, which listens on loopback alone. */
const isForHealth = (request: IncomingMessage): boolean =>
  isMeantForUs(request, { host: "127.0.0.1", tls: false, given: [] });

/** An HTTP server, or an HTTPS one where the options have a certificate. */
function httpServer(
  { tls, headersTimeout }: PortOptions,
  turnedAway: (why: string, facts: Refused) => void,
): Server {
  const http: Server =
    tls === undefined
      ? createServer(timeouts(headersTimeout))
      : createTlsServer({
          ...timeouts(headersTimeout),
          ...tls,
          minVersion: "TLSv1.2",
          handshakeTimeout: 10_000,
          requestCert: tls.ca !== undefined,
          // By TLS itself, not by a look at each request: a session resumed without a certificate
          // counts as authorized there.
          rejectUnauthorized: tls.ca !== undefined,
        }).on("tlsClientError", (error: NodeJS.ErrnoException, socket) =>
          turnedAway("tls", {
            address: socket.remoteAddress,
            // Why the certificate is not taken; else what went wrong in the handshake.
            reason: String(socket.authorizationError ?? error.code ?? error.message),
          }),
        );
  http.maxHeadersCount = 64;
  return http;
}

const webSocketServer = (): WebSocketServer =>
  new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: MAX_FRAME_BYTES,
    maxFragments: 64,
    maxBufferedChunks: 1024,
    // One frame at a turn of the event loop: a packet full of small ones must not hold it up.
    allowSynchronousEvents: false,
    // Answered by web-socket.ts, no faster than other frames.
    autoPong: false,
    // No subprotocol is agreed on, whatever is offered.
    handleProtocols: () => false,
  });

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
