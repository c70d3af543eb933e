import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { BUILT_IN } from "../../runtime/algorithms/built-in.js";
import { random } from "../../runtime/tensors/random.js";
import { repository } from "../cli/command.js";

const page = readFileSync(repository("docs/algorithms.md"), "utf8");

const [, chapter] = /^## The algorithms\n([^]*?)^## /m.exec(page)!;
/** What the page says of each algorithm, by the name in its heading. */
const sections = new Map(
  chapter.split(/^### /m).flatMap((text): [string, string][] => {
    const [, name] = /^`([\w+]+)`\n/.exec(text) ?? [];
    return name === undefined ? [] : [[name, text]];
  }),
);

/** The names that a line such as `- Sends: ...` begins its items with. */
const listed = (section: string, what: string): string[] => {
  const [, text] = new RegExp(`^- ${what}: ([^]*?)(?=^- |\\n\\n|(?![^]))`, "m").exec(section)!;
  if (/^nothing\s*$/.test(text)) return [];
  return [...text.matchAll(/(?:^|[,;]\s)`(\w+)`/g)].map(([, name]) => name);
};

test("the page on algorithms has a section for each that comes with the package, in their order", () => {
  assert.deepEqual(
    [...sections.keys()],
    BUILT_IN.map(({ name }) => name),
  );
});

for (const { name, defaults, client, source } of BUILT_IN)
  test(`the page on algorithms has ${name}'s settings with their defaults, and its vectors in order`, () => {
    const section = sections.get(name)!;
    const rows = [...section.matchAll(/^\| `(\w+)` +\| `([^`]+)` +\|/gm)];
    assert.deepEqual(
      Object.fromEntries(rows.map(([, setting, value]) => [setting, Number(value)])),
      {
        ...defaults,
      },
    );
    assert.deepEqual(listed(section, "Sends"), client.sends);
    assert.deepEqual(listed(section, "Keeps"), client.state);
    assert.deepEqual(listed(section, "Receives"), client.receives);
    const [paper] = /arXiv:[\d.]+/.exec(source)!;
    assert.ok(section.includes(paper) || /same paper/.test(section), paper);
  });

test("the generator gives the numbers and the order that the page shows", () => {
  const shown = [...page.matchAll(/^\| `("[^|]*)` +\| ([\d, ]+?) +\|$/gm)];
  assert.equal(shown.length, 3);
  for (const [, parts, numbers] of shown) {
    const chance = random(...(JSON.parse(`[${parts}]`) as (string | number)[]));
    const three = [1, 2, 3].map(() => chance.next() * 2 ** 32);
    assert.equal(three.join(", "), numbers);
  }
  const [, order] = /0 to 7 become ([\d, ]+)\./.exec(page)!;
  const order8 = random("a seed", "epoch", 0).shuffle([0, 1, 2, 3, 4, 5, 6, 7]);
  assert.equal(order8.join(", "), order);
});
