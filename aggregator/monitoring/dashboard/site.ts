import { readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Aggregator } from "../../run/aggregator.js";
import type { Traffic } from "../metrics.js";
import type { Role } from "./messages.js";
import { filterOf, openFeed } from "./feed.js";

/** Pages that may be open at a time. */
const VIEWERS = 32;
/** Bytes that may wait for a page that does not read. */
const CLOGGED = 4 * 1024 * 1024;

/** Nothing from elsewhere, nothing inline, no text that becomes markup, in no frame. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/** The files of the page, as bundle.mjs makes them. */
const FILES: Readonly<Record<string, { name: string; type: string }>> = {
  "/": { name: "index.html", type: "text/html; charset=utf-8" },
  "/page/page.js": { name: "page.js", type: "text/javascript; charset=utf-8" },
  "/page/page.css": { name: "page.css", type: "text/css; charset=utf-8" },
};

/** What an admin may do to the run. */
const ACTIONS: Readonly<Record<string, { text: string; act(aggregator: Aggregator): void }>> = {
  hold: {
    text: "An admin paused the run: no further round opens.",
    act: (aggregator) => aggregator.hold(),
  },
  release: {
    text: "An admin let the run continue.",
    act: (aggregator) => aggregator.release(),
  },
  drain: {
    text: "An admin asked the run to end after this round.",
    act: (aggregator) => aggregator.drain(),
  },
  stop: {
    text: "An admin stopped the run.",
    act: (aggregator) => void aggregator.stop("stopped by an admin"),
  },
};

/**
 * The live page of a run: its files, the stream of updates it reads, and what an admin asks for.
 */
export interface Site {
  /** Answers a request that is for the page, and says whether it was. */
  answer(request: IncomingMessage, response: ServerResponse): boolean;
  /** Ends all streams. */
  close(): void;
}

/**
 * @param roleOf what the sender of a request may do. The page's own files hold no secret and are
 * for everybody; all else needs a role.
 */
export function openSite(
  aggregator: Aggregator,
  options: {
    readonly traffic: Traffic;
    readonly hasAdmin: boolean;
    /** The answer to a sender without a role. */
    readonly asks: string;
    roleOf(request: IncomingMessage): Role | undefined;
    /** Exempts the sender's connection from eviction when the limit is reached. */
    keep(connection: IncomingMessage["socket"]): void;
  },
): Site {
  const { traffic, hasAdmin, asks, roleOf, keep } = options;
  const feed = openFeed(aggregator, traffic, hasAdmin);
  const files = new Map<string, Buffer | undefined>();

  function file(name: string): Buffer | undefined {
    if (!files.has(name))
      try {
        const url = new URL(`./assets/${name}`, import.meta.url);
        files.set(name, readFileSync(url));
      } catch {
        files.set(name, undefined);
      }
    return files.get(name);
  }

  function stream(response: ServerResponse, role: Role, query: URLSearchParams): void {
    response.writeHead(200, {
      "content-type": "text/event-stream",
      "cache-control": "no-store",
      // nginx would hold updates back.
      "x-accel-buffering": "no",
    });
    response.flushHeaders();
    const leave = feed.follow(
      {
        role,
        feed: query.get("feed") ?? "",
        since: wholeFrom(query.get("since")),
        filter: filterOf(query.get("filter")),
        from: wholeFrom(query.get("from")),
      },
      {
        write: (text) => void response.write(text),
        get clogged() {
          return response.writableLength > CLOGGED;
        },
        end: () => response.end(),
      },
    );
    response.on("close", leave);
  }

  return {
    answer(request, response) {
      const end = (status: number, text = "") => {
        response
          .writeHead(status, {
            "content-type": "text/plain; charset=utf-8",
            "cache-control": "no-store",
          })
          .end(text);
        return true;
      };
      const url = new URL(request.url ?? "/", "http://aggregator");
      const path = url.pathname;
      const asset = Object.hasOwn(FILES, path) ? FILES[path] : undefined;
      if (asset === undefined && !path.startsWith("/page/")) return false;
      response.setHeader("content-security-policy", POLICY);
      response.setHeader("referrer-policy", "no-referrer");
      response.setHeader("cross-origin-opener-policy", "same-origin");
      response.setHeader("cross-origin-resource-policy", "same-origin");
      const { method } = request;
      const reads = method === "GET" || method === "HEAD";
      if (asset !== undefined) {
        if (!reads) return end(405);
        const bytes = file(asset.name);
        if (bytes === undefined) return end(404, "The page is not built: npm run build\n");
        response
          .writeHead(200, {
            "content-type": asset.type,
            "content-length": bytes.length,
            "cache-control": "no-cache",
          })
          .end(method === "HEAD" ? undefined : bytes);
        return true;
      }
      // Pages of other origins neither read nor act, whatever the browser sends along.
      if (!isFromHere(request)) return end(403, "not from this page\n");
      const role = roleOf(request);
      const name = path.slice("/page/".length);
      const action = Object.hasOwn(ACTIONS, name) ? ACTIONS[name] : undefined;
      if (name !== "events" && action === undefined) return end(404);
      if (role === undefined) return end(401, `${asks}\n`);
      keep(request.socket);
      if (action === undefined) {
        if (method !== "GET") return end(405);
        if (feed.viewers >= VIEWERS) return end(503, `${VIEWERS} pages are open already\n`);
        stream(response, role, url.searchParams);
        return true;
      }
      if (method !== "POST") return end(405);
      if (role !== "admin") return end(403, "only an admin may do that\n");
      if (!aggregator.open) return end(409, "the run is over\n");
      aggregator.log.info({ action: name }, action.text);
      feed.note("warning", action.text);
      action.act(aggregator);
      return end(204);
    },
    close: () => feed.close(),
  };
}

/** Sent by our own page, or by no page at all. */
function isFromHere({ headers }: IncomingMessage): boolean {
  const { origin, host } = headers;
  const site = headers["sec-fetch-site"];
  if (site !== undefined && site !== "same-origin" && site !== "none") return false;
  if (origin === undefined) return true;
  try {
    return new URL(origin).host === host?.toLowerCase();
  } catch {
    return false;
  }
}

/** A whole number from outside; 0 for anything else. */
function wholeFrom(text: string | null): number {
  const value = Number(text);
  return Number.isSafeInteger(value) && value > 0 ? value : 0;
}
