import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { describe, test, type TestContext } from "node:test";
import { serveDist } from "../bundle/chromium.js";
import { BROWSERS, type Browser } from "./browsers.js";
import { oneRound, program, type Round, type Said } from "./round.js";

const page = (script: string) =>
  `<!doctype html><link rel="icon" href="data:,"><script type="module">${script}</script>`;

/** Pages without a bundler, each named after where the client runs. */
const PAGES = {
  "/take-part.js": program("/client.js"),
  "/page.html": page(`import "/take-part.js";`),
  "/worker.html": page(`new Worker("/take-part.js" + location.search, { type: "module" });`),
  "/shared.html": page(`new SharedWorker("/take-part.js" + location.search, { type: "module" });`),
  "/service.html": page(
    `navigator.serviceWorker.register("/take-part.js" + location.search, { type: "module" });`,
  ),
  // An engine that does not know Ed25519.
  "/keyless.html": page(`
    crypto.subtle.generateKey = async () => {
      throw new DOMException("Unrecognized name.", "NotSupportedError");
    };
    import("/take-part.js");
  `),
  // A client without its worker beside it.
  "/alone/take-part.js": program("/alone/client.js"),
  "/alone.html": page(`import "/alone/take-part.js";`),
  // One with its worker, and without the WebAssembly that both builds of the kernels and tfjs are.
  "/bare/take-part.js": program("/bare/client.js"),
  "/bare.html": page(`import "/bare/take-part.js";`),
};

async function open(
  t: TestContext,
  browser: Browser,
  place: string,
): Promise<{ said: Said; site: string; round: Round }> {
  const [client, worker] = await Promise.all(
    ["client.js", "client-worker.js"].map((name) =>
      readFile(new URL(`../../${name}`, import.meta.url), "utf8"),
    ),
  );
  const site = await serveDist({
    ...PAGES,
    "/alone/client.js": client,
    "/bare/client.js": client,
    "/bare/client-worker.js": worker,
  });
  t.after(() => site.close());
  const round = await oneRound(t);
  const started = await browser.open(t, `${site.url}${place}.html${round.query}`);
  return { said: await round.said(started), site: site.url, round };
}

const PLACES: Record<string, string> = {
  page: "page",
  worker: "Web Worker",
  shared: "shared worker",
};

/** The browsers in which a shared worker can start workers. */
const SHARED = ["Firefox"];

for (const browser of BROWSERS)
  describe(browser.name, { skip: browser.missing }, () => {
    for (const place of ["page", "worker", ...(SHARED.includes(browser.name) ? ["shared"] : [])])
      test(`without a bundler, a client in a ${PLACES[place]} takes part in a committed round`, async (t) => {
        const { said, round } = await open(t, browser, place);
        await round.assertCommitted(said);
      });

    for (const [place, scope] of [
      ...(SHARED.includes(browser.name) ? [] : [["shared", "SharedWorkerGlobalScope"]]),
      ["service", "ServiceWorkerGlobalScope"],
    ])
      test(`a client in a ${place} worker says that it can start no worker there`, async (t) => {
        const { said } = await open(t, browser, place);
        assert.deepEqual(said, {
          code: "worker-unusable",
          message: `"client" expected a page or a dedicated worker, where it can start its own worker, got ${scope}`,
        });
      });

    test("a worker that is not served ends the client, which names its address", async (t) => {
      const { said, site } = await open(t, browser, "alone");
      assert.equal(said.code, "worker-unusable");
      assert.ok(said.message?.includes(`(${site}alone/client-worker.js)`), said.message);
    });
  });

// What does not depend on the engine.
describe("in any browser", { skip: BROWSERS[0].missing }, () => {
  test("a client where there is no Ed25519 says so", async (t) => {
    const { said } = await open(t, BROWSERS[0], "keyless");
    assert.deepEqual(said, {
      code: "no-ed25519",
      message: `"browser" expected one with Ed25519 keys, got NotSupportedError: Unrecognized name.`,
    });
  });

  test("WebAssembly that is not served ends the client, which names its address", async (t) => {
    const { said, site } = await open(t, BROWSERS[0], "bare");
    assert.equal(said.code, "worker-unusable");
    const file = /"(http:\S+)\.wasm" expected/.exec(said.message!)?.[1];
    assert.ok(file?.startsWith(`${site}bare/`), said.message);
  });
});
