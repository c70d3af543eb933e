import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import type { Page } from "playwright-core";
import { repository } from "../cli/command.js";

const AXE = readFileSync(repository("node_modules/axe-core/axe.min.js"), "utf8");
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];

interface Violation {
  readonly id: string;
  readonly help: string;
  readonly nodes: readonly {
    readonly target: readonly string[];
    readonly failureSummary: string;
  }[];
}

/** What a page as it stands has against WCAG 2 AA, a line each. Evaluated past the page's CSP. */
export async function violations(page: Page): Promise<string[]> {
  await page.evaluate(AXE);
  const found = (await page.evaluate(
    `axe.run(document, { runOnly: ${JSON.stringify(RULES)} }).then(({ violations }) => violations)`,
  )) as readonly Violation[];
  return found.flatMap(({ id, help, nodes }) =>
    nodes.map(
      ({ target, failureSummary }) =>
        `${id} (${help}) at ${target.join(" ")}: ${failureSummary.replace(/\s+/g, " ")}`,
    ),
  );
}

/** Asserts that a page has nothing against WCAG 2 AA, in light and in dark, wide and narrow. */
export async function assertAccessible(page: Page, name: string): Promise<void> {
  for (const colorScheme of ["light", "dark"] as const)
    for (const width of [1280, 390]) {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await page.setViewportSize({ width, height: 800 });
      const found = await violations(page);
      assert.deepEqual(found, [], `${name}, ${colorScheme}, ${width} wide`);
    }
}

/**
 * Goes through a page by the Tab key alone, and asserts that every step is seen.
 * @returns what had the focus, as its text or label, in order
 */
export async function tabThrough(page: Page, most = 200): Promise<string[]> {
  const seen: string[] = [];
  await page.evaluate("document.activeElement?.blur()");
  for (let i = 0; i < most; i++) {
    await page.keyboard.press("Tab");
    const at = (await page.evaluate(`(() => {
      const e = document.activeElement;
      if (e === null || e === document.body || e.dataset.tabbed) return null;
      e.dataset.tabbed = "yes";
      const style = getComputedStyle(e);
      const box = e.getBoundingClientRect();
      return {
        name: (e.getAttribute("aria-label") ?? e.innerText ?? "").trim() || e.id || e.tagName,
        outline: style.outlineStyle !== "none" || style.boxShadow !== "none",
        inside: box.width > 0 && box.height > 0,
      };
    })()`)) as { name: string; outline: boolean; inside: boolean } | null;
    if (at === null) break;
    assert.ok(at.outline, `no focus can be seen on "${at.name}"`);
    assert.ok(at.inside, `the focus is on nothing visible: "${at.name}"`);
    seen.push(at.name);
  }
  return seen;
}
