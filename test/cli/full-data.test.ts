import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { run } from "./command.js";

// Real data that the repository may not hold, in the folder that FEDFLAT_DATA names (docs/data.md).
const data = process.env.FEDFLAT_DATA;
const folder = mkdtempSync(join(tmpdir(), "fedflat-full-data-"));
after(() => rmSync(folder, { recursive: true }));

/** Why a test without its data is skipped, or false. */
const without = (name: string): string | false =>
  data === undefined
    ? `FEDFLAT_DATA names no folder with ${name}`
    : existsSync(join(data, name))
      ? false
      : `no ${name} in FEDFLAT_DATA=${data}`;

async function accuracies(name: string, ...argv: string[]): Promise<readonly number[]> {
  const { code, stdout, stderr } = await run(
    ...["simulate", "--data", join(data!, name), "--json"],
    ...["--run", join(folder, name), ...argv],
  );
  assert.equal(code, 0, stderr);
  return stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter(({ event, accuracy }) => event === "round" && accuracy)
    .map(({ accuracy }) => Number(accuracy));
}

test(
  "UCI HAR, each person a client: above 88 % on people never seen, after 20 rounds",
  { skip: without("uci-har.npz"), timeout: 1_200_000 },
  async () => {
    const found = await accuracies(
      "uci-har.npz",
      ...["--model", "sensor", "--split", "groups", "--rounds", "20"],
      ...["--evaluate-every", "20"],
    );
    assert.equal(found.length, 1);
    assert.ok(found[0] > 0.88, `accuracy ${found[0]}`);
  },
);

test(
  "CIFAR-100, 100 clients of which 10 % train, Dirichlet(0.3): accuracy rises",
  { skip: without("cifar-100-binary"), timeout: 1_200_000 },
  async () => {
    const found = await accuracies(
      "cifar-100-binary",
      ...["--model", "cifar", "--split", "dirichlet:0.3", "--clients", "100"],
      ...["--clients-per-round", "10", "--rounds", "4"],
    );
    // Chance is 0.01.
    assert.equal(found.length, 4);
    assert.ok(found[3] > found[0] && found[3] > 0.02, found.join(" -> "));
  },
);
