import type { Agent } from "node:http";
import { HttpsProxyAgent } from "https-proxy-agent";
import { getProxyForUrl } from "proxy-from-env";
import { ConfigError } from "../runtime/errors.js";

/** The way out that the environment names. */
interface Proxy {
  /** Its address without what is secret in it. */
  readonly name: string;
  readonly agent: Agent;
}

/**
 * The proxy for a `ws://` or `wss://` address: HTTP_PROXY for the one, HTTPS_PROXY for the other,
 * ALL_PROXY for both, not for what NO_PROXY names; each also in small letters. Connections go
 * through it by CONNECT.
 * @throws ConfigError `usage` for an address that is none of an HTTP proxy
 */
export function proxyFor(url: string): Proxy | undefined {
  const given = getProxyForUrl(url.replace(/^ws/, "http"));
  if (given === "") return undefined;
  const proxy = URL.canParse(given) ? new URL(given) : undefined;
  if (proxy?.protocol !== "http:" && proxy?.protocol !== "https:")
    throw new ConfigError(
      "usage",
      `"${url.startsWith("wss:") ? "HTTPS_PROXY" : "HTTP_PROXY"}" expected the address of a proxy, http://... or https://..., got ${proxy ? `one with ${proxy.protocol}` : "something else"}`,
    );
  return { name: proxy.origin, agent: new HttpsProxyAgent(proxy) };
}
