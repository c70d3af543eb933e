import type { IncomingMessage } from "node:http";
import { hasOneHost, isForwarded, isLoopback } from "./dialled.js";

/** Why a WebSocket is not opened, and what the client is answered. */
export interface UpgradeRefusal {
  readonly status: string;
  /** One of a few reasons of the server's own, for the metrics. */
  readonly why: string;
  readonly reason: string;
  readonly header?: string;
}

/** What decides whether a WebSocket is opened. */
export interface UpgradeRules {
  /** Whether a request is meant for this server. */
  isOurs(request: IncomingMessage): boolean;
  /** Every key is admitted, and only from this machine: nothing may come through a proxy. */
  readonly refusesProxies: boolean;
  /** Web pages that may connect, beside those of the loopback. */
  readonly origins: readonly string[];
  /** Counts the connection for its address; false where the address has as many as it may. */
  count(request: IncomingMessage, address: string): boolean;
  /** Whether one more WebSocket may be open, perhaps in the place of a stranger's. */
  hasRoom(): boolean;
}

/** The first reason to refuse a WebSocket, or none. */
export function upgradeRefusal(
  request: IncomingMessage,
  address: string,
  rules: UpgradeRules,
): UpgradeRefusal | undefined {
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
  if (!rules.isOurs(request))
    return { status: "421 Misdirected Request", why: "host", reason: `host ${headers.host}` };
  if (rules.refusesProxies && isForwarded(request))
    return {
      status: "403 Forbidden",
      why: "forwarded",
      reason: "it came by way of a proxy, while every key is admitted",
    };
  const { origin } = headers;
  if (origin !== undefined && !isLoopback(originHost(origin)) && !rules.origins.includes(origin))
    return { status: "403 Forbidden", why: "origin", reason: `origin ${origin}` };
  if (!rules.count(request, address))
    return {
      status: "429 Too Many Requests",
      why: "address",
      reason: "too many connections of this address",
    };
  if (!rules.hasRoom())
    return { status: "503 Service Unavailable", why: "full", reason: "too many connections" };
  return undefined;
}

function originHost(origin: string): string {
  try {
    return new URL(origin).hostname;
  } catch {
    return "";
  }
}
