import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import type { TestContext } from "node:test";
import type { Started } from "./round.js";

/** The first of these programs that is here; names without a slash are looked for in PATH. */
export function found(...names: (string | undefined)[]): string | undefined {
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  return names
    .filter((name) => name !== undefined && name !== "")
    .flatMap((name) =>
      name!.includes("/") ? [name!] : folders.map((folder) => join(folder, name!)),
    )
    .find((path) => existsSync(path));
}

/** The programs under way, by the number of their process group. */
const running = new Set<number>();
const end = (group: number) => {
  try {
    process.kill(-group, "SIGKILL");
  } catch {
    // It has ended by itself.
  }
};
// The runner ends a file that takes too long; no test's own ending is run then.
process.once("SIGTERM", () => {
  running.forEach(end);
  process.exit(1);
});

/** Starts a program that is ended, with every process it has started, when the test ends. */
export function startProgram(
  t: TestContext,
  command: string,
  argv: readonly string[],
  { cwd, env }: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
): Started {
  // In a process group of its own: browsers are many processes.
  const child = spawn(command, argv, { cwd, env: { ...process.env, ...env }, detached: true });
  let output = "";
  child.stdout.on("data", (data) => (output += String(data)));
  child.stderr.on("data", (data) => (output += String(data)));
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  running.add(child.pid!);
  t.after(async () => {
    end(child.pid!);
    await ended;
    running.delete(child.pid!);
  });
  return { process: child, output: () => output };
}

/** A browser as it comes, driven by nothing but the address that it is started with. */
export interface Browser {
  readonly name: string;
  /** Why it cannot be used here, or false. */
  readonly missing: string | false;
  open(t: TestContext, url: string): Promise<Started>;
}

/** An empty folder for what a browser keeps. */
async function profile(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "fedflat-browser-"));
  t.after(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));
  return folder;
}

const chromium = found(
  process.env["FEDFLAT_CHROMIUM"],
  "chromium",
  "chromium-browser",
  "google-chrome",
);
const firefox = found(process.env["FEDFLAT_FIREFOX"], "firefox-esr", "firefox");
const miniBrowser = found(
  process.env["FEDFLAT_WEBKIT"],
  ...["x86_64", "aarch64"].flatMap((machine) =>
    ["4.1", "4.0"].map((api) => `/usr/lib/${machine}-linux-gnu/webkit2gtk-${api}/MiniBrowser`),
  ),
);
const xvfb = found("Xvfb");

const missing = (program: string | undefined, packages: string, variable: string) =>
  program === undefined && `not here: install Debian's ${packages}, or name one in ${variable}`;

export const BROWSERS: readonly Browser[] = [
  {
    name: "Chromium",
    missing: missing(chromium, "package chromium", "FEDFLAT_CHROMIUM"),
    open: async (t, url) =>
      startProgram(t, chromium!, [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        `--user-data-dir=${await profile(t)}`,
        url,
      ]),
  },
  {
    name: "Firefox",
    missing: missing(firefox, "package firefox-esr", "FEDFLAT_FIREFOX"),
    async open(t, url) {
      const folder = await profile(t);
      const argv = ["--headless", "--no-remote", "--profile", folder, url];
      return startProgram(t, firefox!, argv, { env: { HOME: folder } });
    },
  },
  {
    name: "WebKit",
    missing: missing(
      miniBrowser && xvfb,
      "packages webkit2gtk-driver and xvfb",
      "FEDFLAT_WEBKIT (its MiniBrowser)",
    ),
    async open(t, url) {
      // It has no mode without a screen.
      const folder = await profile(t);
      const screen = startProgram(t, xvfb!, ["-displayfd", "1", "-nolisten", "tcp"]);
      const display = await new Promise<string>((resolve, reject) => {
        screen.process.stdout!.on("data", () =>
          resolve(screen.output().trim().split("\n").at(-1)!),
        );
        screen.process.once("exit", () => reject(new Error(`Xvfb ended: ${screen.output()}`)));
      });
      const env = {
        DISPLAY: `:${display}`,
        GDK_BACKEND: "x11",
        HOME: folder,
        XDG_DATA_HOME: folder,
        XDG_CACHE_HOME: folder,
        XDG_RUNTIME_DIR: folder,
        LIBGL_ALWAYS_SOFTWARE: "1",
        WEBKIT_DISABLE_COMPOSITING_MODE: "1",
      };
      return startProgram(t, miniBrowser!, [url], { env });
    },
  },
];
