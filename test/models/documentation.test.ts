import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { LAYER_KINDS, parseDescription } from "../../runtime/models/description.js";
import type { ModelCard } from "../../runtime/models/model.js";
import { ACTIVATIONS } from "../../runtime/models/layers/activations.js";
import { LOSS_KINDS } from "../../runtime/models/losses/built-in.js";
import { METRICS } from "../../runtime/models/metrics/built-in.js";
import type { Metric } from "../../runtime/models/metrics/metric.js";
import { networkOf, type Network } from "../../runtime/models/network.js";
import { preset, PRESET_NAMES } from "../../runtime/models/presets.js";
import { repository } from "../cli/command.js";
import { LAYER_CASES } from "./layer-cases.js";

const page = readFileSync(repository("docs/models.md"), "utf8");

const [, chapter] = /^## Layers\n([^]*?)^## /m.exec(page)!;
/** What the page says of each layer, by the name in its heading. */
const sections = new Map(
  chapter.split(/^### /m).flatMap((text): [string, string][] => {
    const [, name] = /^`(\w+)`\n/.exec(text) ?? [];
    return name === undefined ? [] : [[name, text]];
  }),
);

interface Field {
  readonly name: string;
  /** As JSON where the page gives a number or a text, in words, or "". */
  readonly byDefault: string;
}

/** The rows of a section's table of fields. */
const fieldsOf = (section: string): Field[] =>
  [...section.matchAll(/^\| `(\w+)` +\|.*\| +(.*?) *\|$/gm)].map(([, name, byDefault]) => ({
    name,
    byDefault,
  }));

function withFields(type: keyof typeof LAYER_KINDS, more: object = {}): Network {
  // The first of them says no more than it must.
  const [{ input, fields }] = LAYER_CASES[type];
  const inputs = LAYER_KINDS[type].inputs === "several" ? ["input", "other"] : ["input"];
  const other = { type: "activation", activation: "tanh", inputs: ["input"], name: "other" };
  const layers = [
    ...(inputs.length > 1 ? [other] : []),
    { type, ...fields, ...more, inputs },
    { type: "flatten" },
    { type: "dense", units: 2 },
  ];
  return networkOf(parseDescription({ input, layers }));
}

/** The layer in question: the one before flatten and dense. */
const layerOf = ({ layers }: Network) => layers[layers.length - 3];

test("the page on models has a section for every kind of layer, and for no other", () => {
  assert.deepEqual([...sections.keys()].sort(), Object.keys(LAYER_KINDS).sort());
});

for (const type of Object.keys(LAYER_KINDS) as (keyof typeof LAYER_KINDS)[])
  test(`the page on models names every field of ${type}, which may be left out, and its default`, () => {
    const section = sections.get(type)!;
    const fields = fieldsOf(section);
    const { type: _, ...entries } = LAYER_KINDS[type].schema.entries as Record<
      string,
      { readonly type: string }
    >;
    assert.deepEqual(fields.map(({ name }) => name).sort(), Object.keys(entries).sort());
    if (fields.length === 0) assert.match(section, /No\s+fields but `type`/);
    const plain = withFields(type);
    for (const { name, byDefault } of fields) {
      assert.equal(byDefault !== "", entries[name].type === "optional", `default of ${name}`);
      const [, json] = /^`(.*)`$/.exec(byDefault) ?? [];
      if (json === undefined) continue;
      const said = withFields(type, { [name]: JSON.parse(json) });
      assert.deepEqual(layerOf(said).output, layerOf(plain).output, name);
      assert.deepEqual(said.layout, plain.layout, name);
    }
    for (const { name } of layerOf(plain).parameters)
      assert.match(section, new RegExp(`\`${name}\` \\[`));
    if (layerOf(plain).parameters.length === 0) assert.match(section, /[Nn]o\s+parameters/);
  });

test("the page shows a description for every task", () => {
  const [, table] = /^## Tasks\n([^]*?)^## /m.exec(page)!;
  const tasks = [...table.matchAll(/^\| `(\w+)`/gm)].map(([, task]) => task);
  const shown = [...page.matchAll(/```json\n([^]*?)```/g)].map(
    ([, text]) => networkOf(parseDescription(JSON.parse(text))).loss.task,
  );
  assert.ok(tasks.length > 0);
  for (const task of tasks) assert.ok(shown.includes(task as (typeof shown)[number]), task);
});

test("the descriptions that the page shows are such, and have as many parameters as it says", () => {
  const shown = [...page.matchAll(/```json\n([^]*?)```/g)].map(([, text]) => {
    const json: unknown = JSON.parse(text);
    return networkOf(parseDescription(json)).layout.size.toLocaleString("en");
  });
  const said = [...page.matchAll(/\b(\d[\d,]+)\s+parameters[.:]?\s/g)].map(([, number]) => number);
  assert.deepEqual(shown, said);
});

test("the page on models names every activation, every loss and its fields", () => {
  for (const name of Object.keys(ACTIVATIONS)) assert.match(page, new RegExp(`\\| \`${name}\` `));
  for (const [name, { schema }] of Object.entries(LOSS_KINDS))
    for (const field of [name, ...Object.keys(schema.entries)])
      assert.match(page, new RegExp(`\`${field}\``));
});

test("the page on models names every field of the card and every preset", () => {
  const card: Required<ModelCard> = {
    description: preset("sensor"),
    normalisation: { scale: 1, mean: [0], deviation: [1] },
    classes: [],
    columns: [],
    targets: { columns: [], mean: [0], deviation: [1] },
    vocabulary: [],
    threshold: { quantile: 0.99, value: 1 },
  };
  for (const field of [...Object.keys(card), ...Object.keys(card.normalisation), ...PRESET_NAMES])
    assert.match(page, new RegExp(`[\\W]${field}\\W`));
});

test("the page on models says of each preset what goes in, what comes out, and its parameters", () => {
  const [, table] = /^## Presets\n([^]*)/m.exec(page)!;
  const rows = [...table.matchAll(/^\| `([\w-]+)` .*\| ([\dx]+); ([\dx]+) +\| ([\d,]+) +\|$/gm)];
  assert.deepEqual(
    rows.map(([, name]) => name),
    PRESET_NAMES,
  );
  for (const [, name, input, output, parameters] of rows) {
    const network = networkOf(preset(name));
    assert.equal(network.input.join("x"), input, name);
    assert.equal(network.output.join("x"), output, name);
    assert.equal(network.layout.size.toLocaleString("en"), parameters, name);
  }
});

test("the page on models names every task and the title of each of its metrics", () => {
  const rows = page.split("\n").filter((line) => line.startsWith("| `"));
  const titles = Object.values<Metric>(METRICS).flatMap(({ title, tasks }) =>
    tasks.map((task) => [task, title.toLowerCase()] as const),
  );
  for (const [task, title] of titles) {
    const own = rows.filter((line) => line.startsWith(`| \`${task}\` `));
    assert.ok(
      own.some((row) => row.toLowerCase().includes(title)),
      `${task}: ${title}`,
    );
  }
});
