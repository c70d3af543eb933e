import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { launchChromium } from "../../bundle/chromium.js";

// npm run picture: the README's picture of the live page, taken of a federation that is running:
// `fedflat serve` and `fedflat join` in processes of their own, on the Fashion-MNIST that comes
// with the package. pngquant, where it is installed, makes the file a third as large.

const CLIENTS = 6;
const ROUNDS = 20;
/** The picture is taken in the round after this one. */
const SHOWN = 12;
/** Milliseconds that a slow machine may take. */
const PATIENCE = 1_800_000;

const path = (name: string) => fileURLToPath(new URL(`../../../../${name}`, import.meta.url));
const MAIN = path("dist/cli/main.js");
const DATA = path("examples/data/fashion-mnist");
const PICTURE = path("docs/live-page.png");

const folder = await mkdtemp(join(tmpdir(), "fedflat-picture-"));
const children: ChildProcess[] = [];

function fedflat(...args: string[]): ChildProcess {
  const child = spawn(process.execPath, [MAIN, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  children.push(child);
  return child;
}

try {
  const server = fedflat(
    ...["serve", "--model", "fashion-small", "--test", DATA, "--json"],
    ...["--gather", String(CLIENTS), "--rounds", String(ROUNDS)],
    ...["--local-epochs", "2", "--evaluate-fraction", "1"],
    ...["--flatness-every", "3", "--port", "0", "--run", join(folder, "run")],
  );
  const lines = createInterface({ input: server.stdout! });
  const [first] = (await once(lines, "line")) as [string];
  const { url } = JSON.parse(first) as { url: string };
  for (let i = 1; i <= CLIENTS; i++)
    fedflat(
      ...["join", "--url", url, "--data", DATA, "--json"],
      ...["--state", join(folder, `client-${i}`)],
      ...["--split", "dirichlet:0.3", "--part", `${i}/${CLIENTS}`],
    ).stdout!.resume();
  const browser = await launchChromium();
  try {
    const page = await browser.newPage({
      viewport: { width: 1280, height: 880 },
      colorScheme: "light",
    });
    page.setDefaultTimeout(PATIENCE);
    await page.goto(url.replace(/^ws/, "http"));
    const shows = (selector: string, pattern: RegExp) =>
      page.locator(selector).filter({ hasText: pattern }).first().waitFor();
    await shows("#run-value", new RegExp(`^${SHOWN} of`));
    await shows("#round-value", /^[1-5] of 6 updates/);
    await page.screenshot({ path: PICTURE });
  } finally {
    await browser.close();
  }
  try {
    execFileSync("pngquant", ["--force", "--output", PICTURE, "64", PICTURE]);
  } catch {
    console.error("pngquant is not here: the picture is as Chromium wrote it");
  }
  console.log(PICTURE);
} finally {
  for (const child of children) child.kill("SIGKILL");
  await Promise.all(children.map(async (child) => child.exitCode ?? (await once(child, "exit"))));
  await rm(folder, { recursive: true });
}
