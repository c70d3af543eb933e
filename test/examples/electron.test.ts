import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { test } from "node:test";
import { _electron, type Page } from "playwright-core";
import { modelNamed } from "../../cli/model.js";
import { initialWeights } from "../../runtime/models/initial.js";
import { networkOf } from "../../runtime/models/network.js";
import { FederatedClient } from "../../runtime/node.js";
import { federation } from "../aggregator/run/federation.js";
import { launchChromium, withoutChromium } from "../bundle/chromium.js";
import { repository } from "../cli/command.js";
import { electronBinary, startInStandIn } from "./electron-stand-in.js";
import { installed } from "./installed.js";

/**
 * The app in Electron where it is to be had, else its main process in Node and its window in
 * Chromium.
 */
async function start(folder: string, url: string) {
  process.env["FEDFLAT_URL"] = url;
  if (electronBinary !== undefined) {
    const app = await _electron.launch({
      executablePath: electronBinary,
      args: ["--no-sandbox", folder],
    });
    return { page: await app.firstWindow(), end: () => app.close() };
  }
  const browser = await launchChromium();
  const context = await browser.newContext();
  context.setDefaultTimeout(200_000);
  const standIn = await startInStandIn(folder, context);
  const page = await standIn.window;
  const end = async () => {
    standIn.end();
    await browser.close();
  };
  return { page, standIn, end };
}

test(
  "an app trains in its utility process, shows how it goes, pauses and resumes",
  { skip: electronBinary === undefined && withoutChromium },
  async (t) => {
    if (electronBinary === undefined)
      t.diagnostic(
        "no electron on the PATH or in FEDFLAT_ELECTRON: main.js and training.js run in Node, preload.cjs and the page in Chromium",
      );
    const card = await modelNamed("fashion-small");
    const network = networkOf(card.description);
    const weights = initialWeights(network, "electron");
    const run = await federation(
      { rounds: 3, minimum: 2, learningRate: 0.05, localEpochs: 2 },
      { model: { ...card, layout: network.layout, weights } },
    );
    t.after(() => run.end());
    const example = await installed("electron");
    t.after(() => example.remove());
    const { page, standIn, end } = await start(example.folder, run.url);
    t.after(end);
    const said: string[] = [];
    page.on("pageerror", ({ message }) => said.push(message));
    page.on("console", (message) => said.push(message.text()));
    const artifacts = repository("test-artifacts/examples");
    await mkdir(artifacts, { recursive: true });
    const picture = (page: Page, name: string) =>
      page.screenshot({ path: `${artifacts}/${name}.png` });

    await page.getByText("1 of 2 are ready").waitFor();
    await page.getByRole("button", { name: "Pause" }).click();
    await page.getByText("Paused.").waitFor();
    assert.deepEqual(
      run.aggregator.status().clients.map(({ connected }) => connected),
      [false],
    );
    await picture(page, "electron-paused");

    // The page has the bridge's three functions, and nothing of Node.
    assert.deepEqual(
      await page.evaluate("[Object.keys(fedflat).sort(), typeof process, typeof require]"),
      [["onState", "pause", "state"], "undefined", "undefined"],
    );
    if (standIn !== undefined) {
      const [{ contextIsolation, sandbox, nodeIntegration }] = standIn.webPreferences;
      assert.deepEqual([contextIsolation, sandbox, nodeIntegration], [true, true, false]);
      // Training that dies takes nothing with it, and begins again when asked.
      standIn.children[0].kill("SIGKILL");
      await page.getByText("Training has ended").waitFor();
    }
    await page.getByRole("button", { name: "Resume" }).click();
    await page.getByText("1 of 2 are ready").waitFor();
    const other = new FederatedClient({
      url: run.url,
      state: example.path("other"),
      data: {
        x: Uint8Array.from({ length: 50 * 784 }, (_, i) => i % 251),
        y: Array.from({ length: 50 }, (_, i) => i % 10),
      },
    });
    const ended = other.run();
    await page.getByText("finished: All 3 rounds are done.").waitFor();
    assert.equal((await run.aggregator.done).reason, "finished");
    assert.equal((await ended).reason, "finished");
    await page.getByText(/Round 3/).waitFor();
    const accuracy = await page.locator("#accuracy").textContent();
    assert.match(accuracy!, /^\d+\.\d %$/);
    assert.ok(await page.getByRole("button").isDisabled());
    await page.emulateMedia({ colorScheme: "dark" });
    await picture(page, "electron-dark");
    assert.deepEqual(said, []);
  },
);
