import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { test } from "node:test";
import { modelNamed } from "../../cli/model.js";
import { initialWeights } from "../../runtime/models/initial.js";
import { networkOf } from "../../runtime/models/network.js";
import { federation } from "../aggregator/run/federation.js";
import { launchChromium, withoutChromium } from "../bundle/chromium.js";
import { repository, startNode } from "../cli/command.js";
import { installed } from "./installed.js";

test(
  "two tabs train together, and each shows what the model has learned of the other's images",
  { skip: withoutChromium },
  async (t) => {
    const card = await modelNamed("fashion-small");
    const network = networkOf(card.description);
    const weights = initialWeights(network, "web");
    const run = await federation(
      { rounds: 2, minimum: 2, localEpochs: 1, learningRate: 0.05 },
      { model: { ...card, layout: network.layout, weights } },
    );
    t.after(() => run.end());
    const example = await installed("web");
    t.after(() => example.remove());
    const site = startNode(example.path("serve.mjs"), ...["--port", "0", "--aggregator", run.url]);
    t.after(() => site.process.kill());
    const [, url] = await site.until(/Open (http:\S+)/);

    const answer = await fetch(url);
    assert.match(
      answer.headers.get("content-security-policy")!,
      /^default-src 'none'; script-src 'self' 'wasm-unsafe-eval';/,
    );
    for (const path of ["package.json", "..%2fpackage.json", "fedflat/cli"])
      assert.equal((await fetch(new URL(path, url))).status, 404);
    assert.equal((await fetch(url, { method: "POST" })).status, 405);

    const browser = await launchChromium();
    t.after(() => browser.close());
    const context = await browser.newContext({
      viewport: { width: 1000, height: 800 },
    });
    context.setDefaultTimeout(200_000);
    const said: string[] = [];
    const open = async () => {
      const page = await context.newPage();
      page.on("pageerror", ({ message }) => said.push(message));
      page.on("console", (message) => said.push(message.text()));
      await page.goto(url);
      return page;
    };
    const first = await open();
    // The second tab finds the first one's state taken, and takes the next.
    await first.getByRole("heading", { name: "Tab 1" }).waitFor();
    await first.getByText("1 of 2 are ready").waitFor();
    const tabs = [first, await open()];
    await tabs[1].getByRole("heading", { name: "Tab 2" }).waitFor();

    assert.equal((await run.aggregator.done).reason, "finished");
    for (const [i, tab] of tabs.entries()) {
      await tab.getByText("Finished.").waitFor();
      // What the last model takes the images for is worked out after that.
      await tab.locator("#round", { hasText: /^2$/ }).waitFor();
      assert.match((await tab.locator("#own").textContent()) ?? "", /^600 images/);
      assert.equal(await tab.locator("#rounds li").count(), 2);
      const accuracy = await tab.locator("#accuracy").textContent();
      assert.match(accuracy ?? "", /^\d+ %$/);
      // By chance it would be 10 %.
      assert.ok(parseInt(accuracy!) > 20, `tab ${i + 1}: ${accuracy}`);
      const shares = await tab
        .locator("#bars progress")
        .evaluateAll((bars) => bars.map((bar) => (bar as unknown as { value: number }).value));
      assert.ok(Math.abs(shares.reduce((a, b) => a + b) - 1) < 1e-4);
    }
    await tabs[0].locator("#row button").nth(7).click();
    assert.equal(await tabs[0].locator("#truth").textContent(), "Sneaker");

    const artifacts = repository("test-artifacts/examples");
    await mkdir(artifacts, { recursive: true });
    await tabs[0].screenshot({ path: `${artifacts}/web.png`, fullPage: true });
    await tabs[1].emulateMedia({ colorScheme: "dark" });
    await tabs[1].setViewportSize({ width: 390, height: 844 });
    // Nothing of a phone's page lies beside its screen.
    assert.equal(await tabs[1].evaluate("document.documentElement.scrollWidth"), 390);
    await tabs[1].screenshot({
      path: `${artifacts}/web-phone-dark.png`,
      fullPage: true,
    });
    assert.deepEqual(said, []);
  },
);
