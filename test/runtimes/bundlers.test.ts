import assert from "node:assert/strict";
import { after, before, describe, test, type TestContext } from "node:test";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { build, createServer, preview, version as viteVersion, type InlineConfig } from "vite";
import webpack from "webpack";
import { serveFolder } from "../bundle/chromium.js";
import { BROWSERS } from "./browsers.js";
import { projectWith } from "./package.js";
import { oneRound, program } from "./round.js";

const [chromium] = BROWSERS;

/** Opens the address in Chromium, with the query of a round, which must be committed. */
async function takesPart(t: TestContext, address: string): Promise<void> {
  const round = await oneRound(t);
  const started = await chromium.open(t, `${address}${round.query}`);
  await round.assertCommitted(await round.said(started));
}

// Each tool as it comes, without settings for fedflat, on a project that has the packed package.
describe("a page takes part in a committed round", { skip: chromium.missing }, () => {
  let project: string;
  let vite: InlineConfig;
  before(async () => {
    project = await projectWith({
      "package.json": JSON.stringify({ type: "module", dependencies: { fedflat: "*" } }),
      "index.html": `<!doctype html><link rel="icon" href="data:,"><script type="module" src="/main.js"></script>`,
      "main.js": program("fedflat"),
    });
    vite = { root: project, configFile: false, logLevel: "error" };
  });

  after(() => rm(project, { recursive: true, force: true }));

  test(`from the development server of Vite ${viteVersion}`, async (t) => {
    const server = await createServer({ ...vite, server: { host: "127.0.0.1", port: 0 } });
    t.after(() => server.close());
    await server.listen();
    await takesPart(t, server.resolvedUrls!.local[0]);
  });

  test(`built by Vite ${viteVersion}`, async (t) => {
    await build(vite);
    const server = await preview({ ...vite, preview: { host: "127.0.0.1", port: 0 } });
    t.after(() => server.close());
    await takesPart(t, server.resolvedUrls!.local[0]);
  });

  test(`built by webpack ${webpack.version}`, async (t) => {
    const path = join(project, "packed");
    const compiler = webpack({
      mode: "production",
      context: project,
      entry: "./main.js",
      output: { path },
    });
    const stats = await promisify(compiler.run.bind(compiler))();
    await promisify(compiler.close.bind(compiler))();
    assert.deepEqual(stats?.compilation.errors, []);
    const site = await serveFolder(path, {
      "/page.html": `<!doctype html><script src="/main.js"></script>`,
    });
    t.after(() => site.close());
    await takesPart(t, `${site.url}page.html`);
  });
});
