import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import type { Browser, Page } from "playwright-core";
import { FederatedClient } from "../../../runtime/node.js";
import type { Trainer } from "../../../runtime/training/job.js";
import { federation, type Federation } from "../run/federation.js";
import { updateFor } from "../run/raw-client.js";
import { examples, smallModel } from "../../bundle/local-round.js";
import { trainerHere } from "../../training/engines.js";
import { launchChromium, withoutChromium } from "../../bundle/chromium.js";
import { slowly } from "../../until.js";

const ADMIN = "an-admin-token-of-a-test";
/** Where the screenshots are kept: git ignores this folder. */
const ARTIFACTS = process.env["FEDFLAT_ARTIFACTS"] ?? "test-artifacts";

/** A page of the aggregator, with the errors in it. */
async function open(
  t: TestContext,
  browser: Browser,
  run: Federation,
): Promise<{ page: Page; errors: string[] }> {
  const context = await browser.newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  const errors: string[] = [];
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) errors.push(message.text());
  });
  const response = await page.goto(run.url.replace(/^ws/, "http"));
  assert.match(
    response!.headers()["content-security-policy"],
    /^default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; /,
  );
  return { page, errors };
}

async function shoot(page: Page, name: string): Promise<void> {
  await mkdir(ARTIFACTS, { recursive: true });
  await page.screenshot({
    path: join(ARTIFACTS, `page-${name}.png`),
    fullPage: true,
  });
}

const text = (page: Page, selector: string, pattern: RegExp) =>
  page.locator(selector).filter({ hasText: pattern }).first().waitFor();

/** Waits for a table of exactly this many rows, since a filter takes its time. */
async function rows(page: Page, count: number): Promise<void> {
  const all = page.locator("#rows tr");
  await all.nth(count - 1).waitFor();
  await all.nth(count).waitFor({ state: "detached" });
}

test(
  "the live page in Chromium, over a run of real clients: it follows rounds and clients, and obeys its admin",
  { skip: withoutChromium },
  async (t) => {
    const folder = await mkdtemp(join(tmpdir(), "fedflat-page-"));
    t.after(() => rm(folder, { recursive: true, force: true }));
    const run = await federation(
      {
        rounds: 1000,
        minimum: 2,
        evaluateFraction: 1,
        localEpochs: 1,
        deadline: 120_000,
        absence: 2000,
      },
      { model: smallModel(), folder: join(folder, "run"), hold: true },
      { adminToken: ADMIN },
    );
    t.after(() => run.end());
    const engine = await trainerHere("simd");
    // As slow as a small device: a round can be watched.
    const trainer: Trainer = {
      ...engine,
      async train(job, options) {
        await slowly(200);
        return engine.train(job, options);
      },
    };
    const clients = [1, 2, 3].map(
      (i) =>
        new FederatedClient({
          url: run.url,
          state: join(folder, String(i)),
          data: examples(24, i),
          trainer,
        }),
    );
    t.after(() => Promise.all(clients.map((client) => client.stop())));
    const browser = await launchChromium();
    t.after(() => browser.close());
    const { page, errors } = await open(t, browser, run);

    // Empty states are honest, and a viewer has no controls.
    await text(page, "#no-rows", /No client has joined yet/);
    await text(page, ".plot .empty", /No evaluation yet/);
    assert.equal(await page.locator("#release").isVisible(), false);

    // It follows what happens without being asked.
    const runs = clients.map((client) => client.run().catch(() => undefined));
    await text(page, "#sentence", /Round 1 is paused .*3 clients are ready/);
    await rows(page, 3);

    // A wrong token opens nothing, the right one the controls; a reload keeps it.
    await page.click("#sign-in");
    await page.fill("#token", "another-token-of-a-test");
    await page.press("#token", "Enter");
    await text(page, "#token-error", /does not know this token/);
    await page.fill("#token", ADMIN);
    await page.press("#token", "Enter");
    await text(page, "#release", /Start/);
    await page.reload();
    await text(page, "#release", /Start/);

    await page.click("#release");
    await text(page, "#log", /An admin let the run continue/);
    await text(page, "#log", /Round 1 is committed: 3 updates/);
    await text(page, "#figures", /Accuracy\s*\d+\.\d %/);
    await page.locator(".plot canvas").first().waitFor();

    // Pause and resume.
    await page.click("#hold");
    await text(page, "#release", /Resume/);
    await text(page, "#sentence", /is paused until somebody lets it begin/);
    const { committed } = run.aggregator;
    const shown = await page.locator("#run-value").textContent();
    assert.equal(shown, `${committed} of 1000 rounds`);
    // A page that comes late sees what was before; in the dark, and on a phone.
    await page.reload();
    await text(page, "#log", /Round 1 is committed/);
    await page.locator(".plot canvas").first().waitFor();
    await shoot(page, "light");
    await page.emulateMedia({ colorScheme: "dark" });
    await shoot(page, "dark");
    await page.setViewportSize({ width: 360, height: 780 });
    await shoot(page, "phone");
    const width = await page.evaluate("document.documentElement.scrollWidth");
    assert.equal(width, 360, "nothing is wider than the window");

    // A client leaves.
    await clients[2].stop();
    await text(page, ".chip.away", /Away 1/);
    await page.click(".chip.away");
    await text(page, "#rows .state", /away/);
    await rows(page, 1);

    await page.click("#release");
    await text(page, "#log", new RegExp(`Round ${committed + 1} is committed`));

    // Stop, and what the page says of an aggregator that is gone.
    await page.click("#stop");
    await page.click("#stop-now");
    await text(page, "#sentence", /stopped after round/);
    assert.equal((await run.aggregator.done).reason, "stopped");
    await shoot(page, "stopped");
    assert.deepEqual(
      errors.filter((line) => !/401/.test(line)),
      [],
    );
    await run.end();
    await text(page, "#notice", /the aggregator has closed/);
    await Promise.all(clients.map((client) => client.stop()));
    await Promise.all(runs);
  },
);

test(
  "a page without its token says what is missing, not that the aggregator is gone",
  { skip: withoutChromium },
  async (t) => {
    const admission = { kind: "token", token: "token-of-the-lab" } as const;
    const run = await federation(
      { rounds: 1, minimum: 1, evaluateFraction: 1 },
      { admission },
      { hosts: ["fl.example.org"] },
    );
    t.after(() => run.end());
    const client = await run.client("a", { token: admission.token });
    await client.work((_, model) => updateFor(model, () => 1));
    const browser = await launchChromium();
    t.after(() => browser.close());
    const { page } = await open(t, browser, run);
    await text(page, "#sentence", /This page asks for the token in the file of --token-file\./);
    await text(page, "#line", /Locked/);
    assert.doesNotMatch(await page.locator("body").innerText(), /is gone/);
    await page.fill("#token", admission.token);
    await page.press("#token", "Enter");
    await text(page, "#figures", /Accuracy\s*\d+\.\d %/);
    await shoot(page, "token");
  },
);
