import type { IncomingMessage, ServerResponse } from "node:http";
import type { Metrics, Traffic } from "../monitoring/metrics.js";
import type { Site } from "../monitoring/dashboard/site.js";
import type { Aggregator } from "../run/aggregator.js";
import { hasOneHost } from "./dialled.js";

/** What is served, and to whom. */
export interface Served {
  readonly aggregator: Aggregator;
  readonly metrics: Metrics | undefined;
  readonly traffic: Traffic;
  readonly site?: Site;
  /** Anybody who knows a model's hash can fetch it. */
  readonly publicModels?: boolean;
  /** Whether a request is meant for this server. */
  isOurs(request: IncomingMessage): boolean;
  /** Whether the sender may look at the run. */
  mayLook(request: IncomingMessage): boolean;
  /** Exempts this connection from eviction. */
  keep(connection: IncomingMessage["socket"]): void;
}

/** A request whose sender has access. */
interface Exchange extends Served {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** What the path's group has matched. */
  readonly matched: string;
  end(status: number, text?: string): void;
}

interface Route {
  /** GET answers HEAD too. */
  readonly method: "GET";
  readonly path: RegExp;
  /**
   * `probe`: anybody, by any address; `viewer`: those who are allowed to view the run; `client`:
   * the bearer of an open session.
   */
  readonly access: "probe" | "viewer" | "client";
  readonly handler: (exchange: Exchange) => void;
}

const ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: /^\/livez()$/,
    access: "probe",
    handler: ({ end }) => end(200, "alive\n"),
  },
  {
    method: "GET",
    path: /^\/readyz()$/,
    access: "probe",
    handler: ({ aggregator, end }) =>
      aggregator.ready ? end(200, "ready\n") : end(503, "not ready\n"),
  },
  { method: "GET", path: /^\/status()$/, access: "viewer", handler: sendStatus },
  { method: "GET", path: /^\/metrics()$/, access: "viewer", handler: sendMetrics },
  { method: "GET", path: /^\/blobs\/([0-9a-f]{64})$/, access: "client", handler: sendModel },
];

/** Answers a request: by the table, or by the live page's site. */
export function answer(served: Served, request: IncomingMessage, response: ServerResponse): void {
  response.setHeader("x-content-type-options", "nosniff");
  response.setHeader("content-security-policy", "default-src 'none'");
  const end = (status: number, text = ""): void => endWith(response, status, text);
  if (!hasOneHost(request)) return end(400);
  const path = request.url ?? "/";
  const reads = request.method === "GET" || request.method === "HEAD";
  const route = reads ? ROUTES.find((one) => one.path.test(path)) : undefined;
  const matched = route?.path.exec(path)?.[1] ?? "";
  const exchange: Exchange = { ...served, request, response, matched, end };
  if (route?.access === "probe") return route.handler(exchange);
  // All but a probe must dial by a name of this server: else a page whose own name leads here would
  // be let in.
  if (!served.isOurs(request)) return end(421);
  if (served.site?.answer(request, response)) return;
  if (!reads) return end(405);
  if (route === undefined) return end(404);
  if (!admits(route.access, exchange)) return end(401);
  route.handler(exchange);
}

/** Answers while no run is open yet. */
export function answerUnopened(request: IncomingMessage, response: ServerResponse): void {
  const reads = request.method === "GET" || request.method === "HEAD";
  if (reads && request.url === "/livez") endWith(response, 200, "alive\n");
  else endWith(response, 503, "the run has not begun\n");
}

function endWith(response: ServerResponse, status: number, text: string): void {
  response
    .writeHead(status, { "content-type": "text/plain", "cache-control": "no-store" })
    .end(text);
}

function admits(access: Route["access"], exchange: Exchange): boolean {
  const { aggregator, request, publicModels } = exchange;
  if (access === "viewer") return exchange.mayLook(request);
  const bearer = bearerOf(request);
  return publicModels === true || (bearer !== undefined && aggregator.opens(bearer));
}

export const bearerOf = (request: IncomingMessage): string | undefined =>
  /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? "")?.[1];

function sendStatus({ aggregator, response }: Exchange): void {
  response
    .writeHead(200, { "content-type": "application/json" })
    .end(JSON.stringify(aggregator.status(), null, 2) + "\n");
}

function sendMetrics({ metrics, traffic, response, end }: Exchange): void {
  if (metrics === undefined) return end(404);
  void metrics
    .text(traffic)
    .then((text) => response.writeHead(200, { "content-type": metrics.contentType }).end(text));
}

function sendModel({ aggregator, request, response, matched, keep, end }: Exchange): void {
  const bytes = aggregator.blob(matched);
  if (bytes === undefined) return end(404);
  const bearer = bearerOf(request);
  if (bearer !== undefined && aggregator.opens(bearer)) keep(request.socket);
  sendBytes(request, response, bytes);
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
