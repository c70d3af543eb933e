import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { clientMessages } from "../../runtime/protocol/client-messages.js";
import { serverMessages } from "../../runtime/protocol/server-messages.js";
import { repository } from "../cli/command.js";
import { settings } from "./samples.js";

const page = readFileSync(repository("docs/protocol.md"), "utf8");

/** The text from a heading that names this message to the next heading. */
function sectionOf(type: string): string {
  const [, heading] = new RegExp(`^### ([^\n]*\`${type}\`[^\n]*)\n`, "m").exec(page) ?? [];
  const from = page.indexOf(heading === undefined ? "## 8." : `### ${heading}`);
  return page.slice(from, page.indexOf("\n##", from + 5));
}

for (const [sender, table] of [
  ["client", clientMessages],
  ["aggregator", serverMessages],
] as const)
  test(`docs/protocol.md names every message of the ${sender} and every field of it`, () => {
    for (const [type, { entries }] of Object.entries(table)) {
      const section = sectionOf(type);
      assert.ok(section.includes(`\`${type}\``), type);
      for (const field of Object.keys(entries))
        if (field !== "type") assert.ok(section.includes(`\`${field}\``), `${type}.${field}`);
    }
  });

test("docs/protocol.md names every setting of a training assignment", () => {
  const section = sectionOf("assign");
  for (const name of [...Object.keys(settings), "grid", "augmentation"])
    assert.ok(section.includes(`\`${name}\``), name);
});
