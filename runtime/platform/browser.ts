import { ConfigError } from "../errors.js";
import { kernelUrls } from "./browser-kernels.js";
import { openDatabase, storedKey } from "./browser-state.js";
import type { Platform, Socket, WorkerPort } from "./platform.js";

// Bundlers find the files by exactly this form of a URL, and put them as they are beside their own.
const workerUrl = new URL("../../client-worker.js", import.meta.url);

/** The addresses of what a worker loads. */
export interface WorkerFiles {
  readonly kernels: typeof kernelUrls;
  readonly tfjs: string;
}

const files: WorkerFiles = {
  kernels: kernelUrls,
  tfjs: new URL("../../tfjs-backend-wasm-simd.wasm", import.meta.url).href,
};

/** The platform of a browser tab and of Electron's renderers. */
export const browserPlatform: Platform = {
  openSocket,
  async openState(name) {
    if (typeof Worker === "undefined")
      throw new ConfigError(
        "worker-unusable",
        `"client" expected a page or a dedicated worker, where it can start its own worker, got ${globalThis.constructor.name}`,
      );
    return openDatabase(name);
  },
  identity: storedKey,
  startWorker,
};

function openSocket(url: string): Socket {
  const line = new WebSocket(url);
  line.binaryType = "arraybuffer";
  const socket: Socket = {
    copies: true,
    get bufferedAmount() {
      return line.bufferedAmount;
    },
    send(data) {
      if (line.readyState === WebSocket.OPEN) line.send(data as string | Uint8Array<ArrayBuffer>);
    },
    close(code = 1000, reason = "") {
      // A page may close with 1000 and 3000 to 4999 only.
      line.close(code === 1000 || code >= 3000 ? code : 3000, reason);
    },
  };
  line.onopen = () => socket.onOpen?.();
  line.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) =>
    socket.onMessage?.(typeof data === "string" ? data : new Uint8Array(data));
  line.onclose = ({ code, reason }) => socket.onClose?.(code, reason);
  return socket;
}

function startWorker(): WorkerPort {
  let worker: Worker | undefined;
  const port: WorkerPort = {
    post: (message, transfer = []) => worker?.postMessage(message, [...transfer]),
    terminate: () => worker?.terminate(),
  };
  const exit = (reason: string) => port.onExit?.(`${reason} (${workerUrl.href})`);
  try {
    worker = new Worker(workerUrl);
    worker.postMessage(files);
  } catch (error) {
    // A page's policy may forbid it.
    queueMicrotask(() => exit(String(error)));
    return port;
  }
  worker.onmessage = ({ data }) => port.onMessage?.(data);
  worker.onerror = (event) => {
    // The page's own error handlers are not to hear of it.
    event.preventDefault();
    worker.terminate();
    // An event without a message: there was no script to run.
    exit(event.message || "a script that could not be loaded");
  };
  return port;
}
