import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import type { Browser, Page } from "playwright-core";
import { newRecording } from "../../cli/loadtest/recording.js";
import { htmlOf, reportOf, type Moment } from "../../cli/loadtest/report.js";
import { federation } from "../aggregator/run/federation.js";
import { updateFor } from "../aggregator/run/raw-client.js";
import { launchChromium, serveFolder, withoutChromium } from "../bundle/chromium.js";
import { repository } from "../cli/command.js";
import { assertAccessible, tabThrough } from "./axe.js";

const skip = withoutChromium;
const ADMIN = "an-admin-token-of-a-test";
let browser: Browser;
before(async () => {
  if (!skip) browser = await launchChromium();
});
after(() => browser?.close());

async function open(url: string): Promise<Page> {
  const context = await browser.newContext();
  context.setDefaultTimeout(60_000);
  const page = await context.newPage();
  await page.goto(url);
  return page;
}

test(
  "the live page has nothing against WCAG 2 AA, empty, with rounds, and at its end",
  { skip },
  async (t) => {
    const run = await federation(
      { rounds: 3, minimum: 1, evaluateFraction: 1 },
      { hold: true },
      { adminToken: ADMIN },
    );
    t.after(() => run.end());
    const page = await open(run.url.replace(/^ws/, "http"));
    await page.locator("#no-rows").waitFor();
    await assertAccessible(page, "empty");

    // An admin needs no mouse: signs in, starts, pauses, stops.
    const focus = async (name: RegExp) => {
      for (let i = 0; i < 60; i++) {
        await page.keyboard.press("Tab");
        const text = String(await page.evaluate("document.activeElement.innerText"));
        if (name.test(text)) return;
      }
      assert.fail(`the Tab key does not reach ${name}`);
    };
    await focus(/admin|sign in/i);
    await page.keyboard.press("Enter");
    await page.locator("#token:focus").waitFor();
    await assertAccessible(page, "asking for a token");
    await page.keyboard.type(ADMIN);
    await page.keyboard.press("Enter");
    await page.locator("#release").waitFor();
    const client = await run.client("a");
    void client.work((_, model) => updateFor(model, () => 1));
    await focus(/^Start/);
    await page.keyboard.press("Enter");
    await page
      .locator("#log")
      .filter({ hasText: /Round 3 is committed/ })
      .waitFor();
    await page.locator(".plot canvas").first().waitFor();
    await assertAccessible(page, "with rounds");
    assert.ok((await tabThrough(page)).length > 3);
  },
);

test("a load report has nothing against WCAG 2 AA", { skip }, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "fedflat-report-"));
  t.after(() => rm(folder, { recursive: true }));
  const recording = newRecording();
  for (let i = 1; i <= 200; i++) recording.samples.upload.push(i);
  recording.arrived = 19;
  recording.counted = 200;
  recording.refused.late = 2;
  recording.errors["ended: replaced"] = 1;
  const moments = Array.from({ length: 30 }, (_, i): Moment => ({
    seconds: i + 1,
    states: { ...newRecording().states, idle: 20 },
    counted: i,
    memory: 1e8,
    server: { cpuSeconds: i / 10, memory: 2e8, lag: 5 },
  }));
  const load = {
    ...{ url: "ws://127.0.0.1:7400", clients: 20, profiles: "phone:80", update: "random" },
    ...{ seed: 1, begun: "2026-01-01T00:00:00.000Z" },
  };
  const path = join(folder, "report.html");
  await writeFile(path, htmlOf(reportOf(load, recording, moments, 1), recording, moments));
  const page = await open(pathToFileURL(path).href);
  await assertAccessible(page, "report");
  await tabThrough(page);
});

for (const [name, path] of [
  ["the web example's", "examples/web/page"],
  ["the Electron example's", "examples/electron/renderer"],
  ["the web template's", "cli/create/templates/web"],
] as const)
  test(`${name} page has nothing against WCAG 2 AA`, { skip }, async (t) => {
    // As it is before its program runs; the styles of the last one are the Electron example's.
    const style = repository("examples/electron/renderer");
    const site = await serveFolder(repository(path));
    t.after(() => site.close());
    const page = await open("about:blank");
    if (path.startsWith("cli"))
      await page.route("**/style.css", (route) =>
        route.fulfill({ path: join(style, "style.css"), contentType: "text/css" }),
      );
    await page.goto(`${site.url}index.html`);
    await assertAccessible(page, name);
  });
