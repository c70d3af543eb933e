import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { dirname, join, posix, relative } from "node:path";
import { test } from "node:test";
import { launchChromium, serveFolder, withoutChromium } from "../bundle/chromium.js";
import { repository } from "../cli/command.js";
import { assertAccessible, tabThrough } from "./axe.js";

const OUT = repository("dist/site");
const ARTIFACTS = repository("test-artifacts/site");

/** The site as `npm run docs` builds it; or why it cannot be built here. */
function built(): string | undefined {
  const npm = (...argv: string[]) =>
    spawnSync("npm", argv, { cwd: repository("site"), encoding: "utf8", timeout: 250_000 });
  if (!existsSync(repository("site/node_modules/vitepress"))) {
    const { status } = npm("ci", "--prefer-offline", "--no-audit", "--no-fund");
    if (status !== 0) return "VitePress cannot be installed here: no registry";
  }
  const { status, stdout, stderr } = npm("run", "build");
  assert.equal(status, 0, stdout + stderr);
  return undefined;
}

const pages = () =>
  readdirSync(OUT, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".html"));

const read = (page: string) => readFileSync(join(OUT, page), "utf8");

test("the site", async (t) => {
  const without = built();
  if (without !== undefined) return t.skip(without);

  await t.test("every link and anchor of every page leads somewhere", () => {
    const wrong: string[] = [];
    for (const page of pages().filter((name) => name !== "404.html"))
      for (const [, href] of read(page).matchAll(/<a[^>]* href="([^"]+)"/g)) {
        if (/^[a-z]+:/.test(href)) continue;
        const [path, anchor] = href.split("#");
        const target =
          path === ""
            ? page
            : relative("/", posix.resolve("/", path.startsWith("/") ? "." : dirname(page), path));
        const file = target === "" || path.endsWith("/") ? join(target, "index.html") : target;
        if (!existsSync(join(OUT, file))) wrong.push(`${page}: ${href}`);
        else if (anchor && !read(file).includes(`id="${decodeURIComponent(anchor)}"`))
          wrong.push(`${page}: ${href}`);
      }
    assert.deepEqual(wrong, []);
  });

  await t.test("every page of docs/ is in the side bar", () => {
    const index = read("index.html");
    const listed = pages().filter((page) =>
      index.includes(`href="/${page.replace(/index\.html$/, "")}"`),
    );
    const decisions = pages().filter((page) => page.startsWith("decisions/"));
    const missing = pages().filter((page) => ![...listed, ...decisions, "404.html"].includes(page));
    assert.deepEqual(missing, []);
  });

  await t.test(
    "pages have nothing against WCAG 2 AA, and are no wider than a phone",
    { skip: withoutChromium },
    async (t) => {
      const site = await serveFolder(OUT);
      const browser = await launchChromium();
      t.after(async () => {
        await browser.close();
        site.close();
      });
      await mkdir(ARTIFACTS, { recursive: true });
      const context = await browser.newContext();
      context.setDefaultTimeout(60_000);
      const page = await context.newPage();
      for (const name of [
        "guides/start",
        "client",
        "results",
        "comparison",
        "decisions/exact-sums",
      ]) {
        await page.goto(`${site.url}${name}.html`);
        await page.locator("main h1").first().waitFor();
        await assertAccessible(page, name);
        assert.equal(await page.evaluate("document.documentElement.scrollWidth"), 390, name);
        for (const [scheme, width] of [
          ["light", 1280],
          ["dark", 390],
        ] as const) {
          await page.emulateMedia({ colorScheme: scheme });
          await page.setViewportSize({ width, height: 900 });
          const path = join(ARTIFACTS, `${name.replace("/", "-")}-${scheme}.png`);
          await page.screenshot({ path });
        }
      }
    },
  );

  await t.test(
    "a page is found and opened by keyboard alone",
    { skip: withoutChromium },
    async (t) => {
      const site = await serveFolder(OUT);
      const browser = await launchChromium();
      t.after(async () => {
        await browser.close();
        site.close();
      });
      const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
      await page.goto(`${site.url}guides/start.html`);
      await page.locator("main h1").first().waitFor();
      const reached = await tabThrough(page, 60);
      assert.match(reached[0], /skip to content/i);
      assert.ok(reached.some((name) => /search/i.test(name)));
      await page.keyboard.press("Control+k");
      await page.locator("#localsearch-input").waitFor();
      await page.keyboard.type("quorum");
      await page.locator("#localsearch-list a").first().waitFor();
      await page.keyboard.press("Enter");
      await page.waitForURL(/\.html/);
      await page.locator("main h1").first().waitFor();
      assert.doesNotMatch(page.url(), /guides\/start/);
    },
  );
});
