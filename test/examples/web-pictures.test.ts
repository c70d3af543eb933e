import assert from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { modelNamed } from "../../cli/model.js";
import { initialWeights } from "../../runtime/models/initial.js";
import { loadModel, writeModel } from "../../runtime/models/model.js";
import { networkOf } from "../../runtime/models/network.js";
import { random } from "../../runtime/tensors/random.js";
import { federation } from "../aggregator/run/federation.js";
import { launchChromium, withoutChromium } from "../bundle/chromium.js";
import { repository, run, startNode } from "../cli/command.js";
import { installed, type Installed } from "./installed.js";

/** A network of somebody else's as `fedflat import` leaves it, with a new last layer. */
async function importedInto(example: Installed): Promise<Uint8Array> {
  // Which takes bytes; this one takes numbers from 0 to 1.
  const { normalisation: _, ...card } = await modelNamed("fashion-small");
  const network = networkOf(card.description);
  const weights = initialWeights(network, "backbone");
  const [file, backbone, folder] = ["backbone.safetensors", "backbone", "model"].map((name) =>
    example.path(name),
  );
  await writeFile(file, writeModel({ ...card, layout: network.layout, weights }));
  const head = ["--freeze", "all but last 1", "--head", "2"];
  for (const words of [
    ["export", file, "--to", "tfjs", "--out", backbone],
    ["import", `${backbone}/model.json`, ...head, "--to", folder],
  ]) {
    const { code, stderr } = await run(...words);
    assert.equal(code, 0, stderr);
  }
  return readFile(`${folder}/weights.safetensors`);
}

/** A picture of 28 x 28, all of one grey with a little noise, as a BMP file. */
function picture(name: string, grey: number) {
  const chance = random("picture", name.length, grey);
  const side = 28;
  const size = 54 + 3 * side * side;
  const bytes = Buffer.alloc(size);
  bytes.write("BM");
  for (const [at, value] of Object.entries({ 2: size, 10: 54, 14: 40, 18: side, 22: side }))
    bytes.writeUInt32LE(value, Number(at));
  bytes.writeUInt16LE(1, 26);
  bytes.writeUInt16LE(24, 28);
  for (let i = 54; i < size; i++) bytes[i] = grey + 40 * chance.next();
  return { name: `${name}.bmp`, mimeType: "image/bmp", buffer: bytes };
}

test(
  "two tabs adapt an imported network to pictures of their own, and send its last layer alone",
  { skip: withoutChromium },
  async (t) => {
    const example = await installed("web");
    t.after(() => example.remove());
    const model = loadModel(await importedInto(example));
    const run = await federation(
      { rounds: 4, minimum: 2, localEpochs: 5, batchSize: 4, learningRate: 0.1 },
      { model },
    );
    t.after(() => run.end());
    const rounds: number[] = [];
    run.aggregator.on("round", (_, { updateBytes }) => rounds.push(updateBytes));
    const site = startNode(
      example.path("serve.mjs"),
      ...["--port", "0", "--aggregator", run.url, "--pictures", example.path("model")],
    );
    t.after(() => site.process.kill());
    const [, url] = await site.until(/Open (http:\S+)/);

    const browser = await launchChromium();
    t.after(() => browser.close());
    const context = await browser.newContext({ viewport: { width: 1000, height: 800 } });
    context.setDefaultTimeout(200_000);
    const said: string[] = [];
    const open = async (tab: number) => {
      const page = await context.newPage();
      page.on("pageerror", ({ message }) => said.push(message));
      page.on("console", (message) => said.push(message.text()));
      await page.goto(url);
      for (const [label, grey] of [30, 180].entries()) {
        const pictures = [1, 2, 3, 4, 5, 6].map((i) => picture(`${tab}-${i}`, grey + 5 * i));
        await page.locator("#classes input").nth(label).setInputFiles(pictures);
      }
      await page.locator("#classes canvas").nth(11).waitFor();
      await page.getByRole("button", { name: "Take part" }).click();
      return page;
    };
    const first = await open(1);
    await first.getByRole("heading", { name: "Tab 1: 12 pictures" }).waitFor();
    const tabs = [first, await open(2)];
    await tabs[1].getByRole("heading", { name: "Tab 2: 12 pictures" }).waitFor();

    assert.equal((await run.aggregator.done).reason, "finished");
    for (const tab of tabs) {
      await tab.getByText("Finished.").waitFor();
      await tab.locator("#round", { hasText: /^4$/ }).waitFor();
      assert.equal(await tab.locator("#accuracy").textContent(), "100 %");
    }
    const shared = networkOf(model.description).shares.shared.layout.size;
    assert.ok(shared < model.layout.size / 2);
    for (const bytes of rounds) assert.ok(bytes < 2 * (4 * shared + 1024), `${bytes} bytes`);

    await first.locator("#try").setInputFiles(picture("a new one", 200));
    await first.locator("#bars .number", { hasText: "%" }).nth(1).waitFor();
    const [dark, light] = await first.locator("#bars .number").allTextContents();
    assert.ok(parseInt(light) > parseInt(dark), `${dark} and ${light}`);
    const notes = "test-artifacts/examples";
    await mkdir(repository(notes), { recursive: true });
    await first.screenshot({ path: repository(`${notes}/web-pictures.png`), fullPage: true });
    await tabs[1].setViewportSize({ width: 390, height: 844 });
    assert.equal(await tabs[1].evaluate("document.documentElement.scrollWidth"), 390);
    await tabs[1]
      .locator("#try")
      .setInputFiles({ name: "no.png", mimeType: "image/png", buffer: Buffer.from("no") });
    await tabs[1].getByText(/"no.png" is no picture/).waitFor();
    assert.deepEqual(said, []);
  },
);
