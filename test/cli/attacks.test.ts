import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { alieStrength, ATTACKS, attackNamed } from "../../cli/attacks.js";
import { reference, updatesOf } from "../aggregator/aggregation/robust-vectors.js";

const { f } = reference;

/** The reference's case, and the attack with a strength that it shows. */
const CASES: readonly (readonly [kind: string, attack: string])[] = [
  ["sign-flip", "sign-flip"],
  ["alie", "alie"],
  ["alie 1.5", "alie:1.5"],
  ["inner-product 0.5", "inner-product"],
  ["inner-product 10", "inner-product:10"],
  ["huge", "huge"],
];

for (const [kind, name] of CASES)
  test(`${name}: hostile updates are those of the reference program`, () => {
    const rows = updatesOf(kind);
    const { attackers } = reference.cases[kind];
    const honest = rows.filter((_, i) => !attackers.includes(i));
    const { forge, strength } = attackNamed(name)!;
    const forged = forge!({ honest, hostile: f, strength });
    for (const attacker of attackers)
      forged.forEach((x, i) =>
        assert.ok(Math.abs(x - rows[attacker][i]) <= 1e-6 * Math.abs(rows[attacker][i]) + 1e-9),
      );
  });

test("ALIE hides behind as many deviations as the paper's formula says", () => {
  for (const [sizes, z] of Object.entries(reference.alieZ)) {
    const [members, hostile] = sizes.split(",").map(Number);
    assert.ok(Math.abs(alieStrength(members, hostile) - z) < 1e-9);
  }
});

test("label-flip turns the labels around, and takes no strength", () => {
  const dataset = {
    shape: [1],
    inputs: new Float32Array(3),
    labels: Int32Array.of(0, 2, 1),
    classes: ["a", "b", "c"],
  };
  const { poison } = attackNamed("label-flip")!;
  assert.deepEqual(poison!(dataset).labels, Int32Array.of(2, 0, 1));
  assert.deepEqual(dataset.labels, Int32Array.of(0, 2, 1));
});

test("an attack that there is not, or of no strength, is none", () => {
  for (const text of ["other", "constructor", "huge:", "huge:-1", "huge:x", "huge:1:2", "none:2"])
    assert.equal(attackNamed(text), undefined, text);
});

test("docs/robust.md names every attack", () => {
  const page = fileURLToPath(new URL("../../../docs/robust.md", import.meta.url));
  const text = readFileSync(page, "utf8");
  for (const name of ATTACKS.filter((name) => name !== "none"))
    assert.ok(text.includes(`\`${name}\``), name);
});
