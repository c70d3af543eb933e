import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium, type Browser } from "playwright-core";

const executablePath = [
  process.env["FEDFLAT_CHROMIUM"],
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
].find((path) => path !== undefined && existsSync(path));

/** Why the tests in a browser cannot run here, or false. */
export const withoutChromium: string | false =
  executablePath === undefined &&
  "no Chromium here: install Debian's package chromium, or name one in FEDFLAT_CHROMIUM";

/** `fedflat.test` is this machine under a name that is no loopback's: an insecure context. */
export function launchChromium(): Promise<Browser> {
  return chromium.launch({
    executablePath,
    args: [
      "--no-sandbox",
      "--host-resolver-rules=MAP fedflat.test 127.0.0.1",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

const TYPES: Record<string, string> = {
  ".html": "text/html",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".js": "text/javascript",
  ".wasm": "application/wasm",
};

export interface Site {
  readonly url: string;
  close(): void;
}

/** As `serveFolder`, with dist/. */
export const serveDist = (
  scripts: Readonly<Record<string, string>> = {},
  headers: Readonly<Record<string, string>> = {},
): Promise<Site> =>
  serveFolder(fileURLToPath(new URL("../../../dist/", import.meta.url)), scripts, headers);

/**
 * Serves a folder on loopback, an empty page at its root, and the scripts given, by their paths;
 * all with these headers.
 */
export async function serveFolder(
  folder: string,
  scripts: Readonly<Record<string, string>> = {},
  headers: Readonly<Record<string, string>> = {},
): Promise<Site> {
  const server = createServer(async (request, response) => {
    const path = normalize(new URL(request.url!, "http://host").pathname);
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    if (path === "/") {
      response.setHeader("content-type", "text/html");
      response.end('<!doctype html><link rel="icon" href="data:,"><title>fedflat</title>');
      return;
    }
    try {
      const bytes = scripts[path] ?? (await readFile(join(folder, path)));
      response.setHeader("content-type", TYPES[extname(path)] ?? "text/plain");
      response.end(bytes);
    } catch {
      response.statusCode = 404;
      response.end();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/`,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}
