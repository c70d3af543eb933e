import type { IncomingMessage } from "node:http";
import { BlockList, isIP } from "node:net";
import { networkInterfaces } from "node:os";
import { ConfigError } from "../../runtime/errors.js";

// What a request tells of how it came here: the name that was dialled, and the proxies between.

const LOOPBACK_NAMES = new Set(["localhost", "127.0.0.1", "[::1]"]);
const WILDCARDS = new Set(["0.0.0.0", "::", "[::]", ""]);

export const isLoopback = (host: string): boolean => LOOPBACK_NAMES.has(bracketed(host));

const bracketed = (host: string): string => (isIP(host) === 6 ? `[${host}]` : host);

/** An address as a `Host` header has it: IPv4 also where the socket is one of IPv6. */
const plainAddress = (address = ""): string =>
  bracketed(address.replace(/^::ffff:(?=\d+\.)/, "").replace(/%.*$/, ""));

/** Whether this address of a socket belongs to the machine itself. */
const isOnLoopback = (address: string): boolean =>
  address === "[::1]" || address.startsWith("127.");

/** A server's own names, as `Host` headers have them. */
export interface Names {
  /** Where the server listens. */
  readonly host: string;
  readonly tls: boolean;
  /** More names, with their ports, lower case. */
  readonly given: readonly string[];
}

/**
 * Whether a request was meant for this server: by one of the names given, or by the address at
 * which it came in, or that it listens on, and its own port. A loopback name counts only for
 * connections from this machine. So a request for another service of the same address is refused,
 * and a proof that was made for that service is worth nothing here.
 */
export function isMeantForUs({ headers, socket }: IncomingMessage, names: Names): boolean {
  const named = headers.host?.toLowerCase() ?? "";
  if (names.given.includes(named)) return true;
  const [, name, port] = /^(.*?)(?::(\d+))?$/.exec(named)!;
  if (Number(port ?? (names.tls ? 443 : 80)) !== socket.localPort) return false;
  const address = plainAddress(socket.localAddress);
  if (isLoopback(name)) return isOnLoopback(address);
  return name === address || (name === bracketed(names.host) && !WILDCARDS.has(name));
}

/** Not by a page whose own name leads here, and not by way of a proxy. */
export const isDialledLocally = (request: IncomingMessage): boolean =>
  !isForwarded(request) && isLoopback(hostName(request));

const hostName = ({ headers }: IncomingMessage): string =>
  (headers.host ?? "").toLowerCase().replace(/:\d+$/, "");

/** Headers in which proxies name the client that they forward. */
const FORWARDING =
  /^(forwarded|via|x-forwarded(-.*)?|x-real-ip|true-client-ip|cf-connecting-ip|x-client-ip)$/;

/** Whether a proxy forwards this request: then it comes from elsewhere. */
export const isForwarded = ({ headers }: IncomingMessage): boolean =>
  Object.keys(headers).some((name) => FORWARDING.test(name));

/** HTTP/1.1 asks for one `Host`; of two, a proxy and a server may each believe another one. */
export const hasOneHost = ({ rawHeaders }: IncomingMessage): boolean =>
  rawHeaders.filter((text, i) => i % 2 === 0 && text.toLowerCase() === "host").length <= 1;

/** Proxies that are trusted to name the client's address. */
export interface Proxies {
  has(address: string | undefined): boolean;
}

/**
 * @throws ConfigError `trusted-proxy` for what is neither an address nor a network such as
 * 10.0.0.0/8.
 */
export function trustedProxies(addresses: readonly string[]): Proxies {
  const list = new BlockList();
  for (const text of addresses) {
    const [address, bits, ...more] = text.split("/");
    const version = isIP(address);
    const most = version === 4 ? 32 : 128;
    const length = bits === undefined ? most : /^\d+$/.test(bits) ? Number(bits) : NaN;
    if (version === 0 || more.length > 0 || !(length <= most))
      throw new ConfigError(
        "trusted-proxy",
        `"trusted proxy" expected an address such as 127.0.0.1 or a network such as 10.0.0.0/8, got ${text}`,
      );
    list.addSubnet(address, length, version === 4 ? "ipv4" : "ipv6");
  }
  const has = (address: string | undefined): boolean => {
    if (address === undefined) return false;
    const plain = address.replace(/^::ffff:(?=\d+\.)/, "");
    const version = isIP(plain);
    return version !== 0 && list.check(plain, version === 4 ? "ipv4" : "ipv6");
  };
  return { has };
}

/**
 * Where a request comes from: behind trusted proxies the last address in `X-Forwarded-For` that is
 * not one of theirs, because a client can write anything before it.
 */
export function addressOf({ headers, socket }: IncomingMessage, proxies: Proxies): string {
  let address = socket.remoteAddress ?? "unknown";
  const hops = String(headers["x-forwarded-for"] ?? "").split(",");
  while (proxies.has(address)) {
    const hop = hops.pop()?.trim() ?? "";
    if (isIP(hop) === 0) break;
    address = hop;
  }
  return address;
}

/**
 * An address under which this machine can be dialled by others, where the server listens on all.
 */
export function dialableHost(host: string): string {
  if (!WILDCARDS.has(host)) return bracketed(host);
  const addresses = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
  const outside = addresses.find(({ internal, family }) => !internal && family === "IPv4");
  return outside?.address ?? "127.0.0.1";
}
