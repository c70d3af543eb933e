import { fork, type ChildProcess } from "node:child_process";
import { EventEmitter } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { pathToFileURL } from "node:url";
import type { BrowserContext, Page } from "playwright-core";

/** An Electron binary: named in FEDFLAT_ELECTRON, or on the PATH. */
export const electronBinary: string | undefined = [
  process.env["FEDFLAT_ELECTRON"],
  ...(process.env["PATH"] ?? "").split(delimiter).map((folder) => join(folder, "electron")),
].find((path) => path !== undefined && existsSync(path));

/** `process.parentPort` of a utility process, on Node's own channel to a child. */
const PARENT_PORT = `data:text/javascript,${encodeURIComponent(`
  import { EventEmitter } from "node:events";
  process.parentPort = new EventEmitter();
  process.parentPort.postMessage = (message) => process.send(message);
  process.on("message", (data) => process.parentPort.emit("message", { data }));
`)}`;

/** What a preload script may require, on a binding of Playwright's. */
const withElectron = (preload: string) => `{
  const listeners = new Map();
  globalThis.deliver = (channel, args) =>
    (listeners.get(channel) ?? []).forEach((listener) => listener({}, ...args));
  const ipcRenderer = {
    invoke: (channel, ...args) => globalThis.invoke(channel, args),
    on: (channel, listener) =>
      listeners.set(channel, [...(listeners.get(channel) ?? []), listener]),
  };
  const contextBridge = {
    exposeInMainWorld: (name, api) => (globalThis[name] = api),
  };
  ((require) => {
    ${preload}
  })(() => ({ contextBridge, ipcRenderer }));
}`;

type Answer = (event: { senderFrame: { url: string } }, ...given: unknown[]) => unknown;

interface WindowOptions {
  readonly width: number;
  readonly height: number;
  readonly webPreferences: Readonly<Record<string, unknown>>;
}

export interface StandIn {
  /** The utility processes that were forked. */
  readonly children: readonly ChildProcess[];
  /** The first window's page. */
  readonly window: Promise<Page>;
  readonly webPreferences: Readonly<Record<string, unknown>>[];
  end(): void;
}

/**
 * As much of Electron as the example asks for, where its binary cannot be had: main process and
 * utility process are Node, a window is a page of Chromium, and the preload script runs in the
 * page's own world. An app in `folder` that imports `electron` gets it.
 */
export async function startInStandIn(folder: string, context: BrowserContext): Promise<StandIn> {
  const handlers = new Map<string, Answer>();
  const children: ChildProcess[] = [];
  const webPreferences: StandIn["webPreferences"] = [];
  let opened: (page: Page) => void;
  const window = new Promise<Page>((resolve) => (opened = resolve));

  class BrowserWindow {
    readonly #options: WindowOptions;
    #page?: Page;
    readonly webContents = {
      send: (channel: string, ...args: unknown[]) =>
        void this.#page
          ?.evaluate(`globalThis.deliver?.(${JSON.stringify(channel)}, ${JSON.stringify(args)})`)
          .catch(() => {}),
      setWindowOpenHandler() {},
      on() {},
    };
    constructor(options: WindowOptions) {
      this.#options = options;
      webPreferences.push(options.webPreferences);
    }
    isDestroyed() {
      return this.#page?.isClosed() ?? false;
    }
    async loadFile(path: string) {
      const { width, height, webPreferences } = this.#options;
      const page = await context.newPage();
      await page.setViewportSize({ width, height });
      await page.exposeBinding("invoke", ({ frame }, channel: string, given: unknown[]) =>
        handlers.get(channel)!({ senderFrame: { url: frame.url() } }, ...given),
      );
      const preload = await readFile(String(webPreferences["preload"]), "utf8");
      await page.addInitScript(withElectron(preload));
      this.#page = page;
      opened(page);
      await page.goto(pathToFileURL(path).href);
    }
  }

  const electron = {
    app: Object.assign(new EventEmitter(), {
      whenReady: async () => {},
      getPath: () => join(folder, "user-data"),
      quit() {},
    }),
    BrowserWindow,
    ipcMain: {
      handle: (channel: string, answer: Answer) => void handlers.set(channel, answer),
    },
    utilityProcess: {
      fork(path: string, args: string[], { env }: { env: NodeJS.ProcessEnv }) {
        const execArgv = ["--import", PARENT_PORT];
        const child = fork(path, args, { env, execArgv });
        children.push(child);
        return Object.assign(child, {
          postMessage: (message: object) => child.send(message),
        });
      },
    },
  };

  const module = join(folder, "node_modules/electron");
  await mkdir(module, { recursive: true });
  await writeFile(
    join(module, "package.json"),
    JSON.stringify({ name: "electron", type: "module", exports: "./index.js" }),
  );
  await writeFile(
    join(module, "index.js"),
    "export const { app, BrowserWindow, ipcMain, utilityProcess } = globalThis.electronStandIn;\n",
  );
  Object.assign(globalThis, { electronStandIn: electron });
  await import(pathToFileURL(join(folder, "main.js")).href);
  return {
    children,
    window,
    webPreferences,
    end: () => children.forEach((child) => child.kill("SIGKILL")),
  };
}
