import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { app, BrowserWindow, ipcMain, utilityProcess } from "electron";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const page = new URL("renderer/index.html", import.meta.url).href;

/** What the page shows; kept here, so that a page that is loaded again knows it. */
const shown = { paused: false, status: "Starts.", rounds: [] };
let window;
let training;

/** Changes what the page shows. */
function show(change) {
  Object.assign(shown, change);
  if (window && !window.isDestroyed()) window.webContents.send("state", shown);
}

/**
 * Training has a process of its own: neither the windows nor the menus wait for it, and its end is
 * not theirs.
 */
function startTraining() {
  training = utilityProcess.fork(here("training.js"), [], {
    serviceName: "fedflat",
    env: {
      ...process.env,
      FEDFLAT_STATE: join(app.getPath("userData"), "fedflat"),
      FEDFLAT_URL: process.env.FEDFLAT_URL ?? "ws://127.0.0.1:7400",
    },
  });
  training.on("message", (message) => {
    const { accuracy, ...change } = message;
    if (accuracy !== undefined) change.rounds = [...shown.rounds, accuracy].slice(-50);
    show(change);
  });
  training.on("exit", (code) => {
    training = undefined;
    const status = `Training has ended (exit code ${code}).`;
    show({ status, paused: true, ended: false });
  });
}

/** Pauses at once; resumes where it was, in a new process if the old one has ended. */
function pause(paused) {
  if (training === undefined && !paused) startTraining();
  training?.postMessage({ paused });
  show({ paused });
}

/** The page may say two things. Who else than our own page says them is not heard. */
function handle(channel, answer) {
  ipcMain.handle(channel, ({ senderFrame }, ...given) => {
    if (senderFrame?.url !== page) throw new Error("not this app's page");
    return answer(...given);
  });
}

function openWindow() {
  window = new BrowserWindow({
    width: 460,
    height: 640,
    webPreferences: {
      preload: here("preload.cjs"),
      contextIsolation: true,
      sandbox: true,
      nodeIntegration: false,
    },
  });
  window.webContents.setWindowOpenHandler(() => ({ action: "deny" }));
  window.webContents.on("will-navigate", (event) => event.preventDefault());
  return window.loadFile(here("renderer/index.html"));
}

await app.whenReady();
handle("state", () => shown);
handle("pause", (paused) => pause(paused === true));
startTraining();
await openWindow();
app.on("window-all-closed", () => app.quit());
