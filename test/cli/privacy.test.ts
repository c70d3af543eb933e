import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { start } from "./command.js";

const folder = mkdtempSync(join(tmpdir(), "fedflat-privacy-"));
after(() => rmSync(folder, { recursive: true }));
const plot = join(folder, "epsilon");
const ask = (...more: string[]) => start("privacy", "--plot", plot, ...more).ended;

test("privacy answers epsilon, with a picture", async () => {
  const asked = ["--noise", "1", "--sampling", "0.01", "--rounds", "1000"];
  const { code, stdout } = await ask(...asked);
  assert.equal(code, 0);
  // 1.828244 by Google's dp-accounting.
  assert.match(stdout, /Noise multiplier 1 over 1000 rounds.*epsilon 1\.828[34] at delta 0\.00001/);
  assert.match(stdout, /does not protect them from the aggregator/);
  const svg = readFileSync(`${plot}.svg`, "utf8");
  assert.match(svg, /epsilon against rounds/);
});

test("privacy answers the noise for an epsilon, and keeps it", async () => {
  const { code, stdout } = await ask("--epsilon", "8", "--rounds", "100", "--json");
  assert.equal(code, 0);
  const [line] = stdout.split("\n");
  const { epsilon, noise } = JSON.parse(line) as { epsilon: number; noise: number };
  assert.ok(epsilon <= 8 && epsilon > 7.99, `${epsilon}`);
  assert.ok(noise > 5 && noise < 7, `${noise}`);
});

test("privacy asks for one of noise and epsilon", async () => {
  for (const both of [[], ["--noise", "1", "--epsilon", "8"]]) {
    const { code, stderr } = await ask("--rounds", "10", ...both);
    assert.equal(code, 2);
    assert.match(stderr, /"--noise" expected it or --epsilon/);
  }
});

test("a private run says why figures are missing, and shows each round when it is over", async () => {
  const data = join(folder, "table.csv");
  const rows = Array.from({ length: 60 }, (_, i) => `${i % 7},${i % 5},${i % 2}`);
  writeFileSync(data, `a,b,label\n${rows.join("\n")}\n`);
  const simulated = start(
    ...["simulate", "--data", data, "--clients", "2", "--rounds", "100000", "--normalise", "none"],
    ...["--dp-noise", "1", "--dp-clip", "1", "--run", join(folder, "run")],
  );
  await simulated.until(/round 3\/100000: accuracy -, loss -/);
  assert.match(
    simulated.stdout(),
    /kept back and stands here as "-".*--unprotected-metrics.*--test/,
  );
  simulated.process.kill("SIGINT");
  assert.equal((await simulated.ended).code, 130);
});
