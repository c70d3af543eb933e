import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { repository, run, startNode } from "../cli/command.js";

const folder = mkdtempSync(join(tmpdir(), "fedflat-examples-"));
after(() => rmSync(folder, { recursive: true }));
const script = (path: string, ...argv: string[]) =>
  startNode(repository(`examples/${path}`), ...argv).ended;

test("the gateway's autoencoder tells a machine that knocks", async () => {
  const [well, wrong] = ["well.csv", "wrong.csv"].map((name) => join(folder, name));
  assert.equal((await script("anomaly/machine.js", well, "6000")).code, 0);
  assert.equal((await script("anomaly/machine.js", wrong, "2000", "fault")).code, 0);
  const windows = ["--window", "32", "--target", "input"];
  const {
    code,
    stdout: said,
    stderr,
  } = await run(
    ...["simulate", "--data", well, ...windows, "--stride", "8", "--clients", "2"],
    ...["--model", repository("examples/anomaly/model.json"), "--zeta", "0", "--rounds", "5"],
    ...["--learning-rate", "0.1", "--threshold", "0.99", "--run", join(folder, "machines")],
  );
  assert.equal(code, 0, stderr);
  assert.match(said, /An error above 0?\.\d+ is an anomaly: 99 % of what 2 clients held out/);
  const { stdout } = await run(
    ...["predict", "--model", join(folder, "machines"), "--data", wrong, ...windows],
  );
  const [head, ...lines] = stdout.trim().split("\n");
  assert.equal(head, "error,threshold,anomaly");
  const rows = lines.map((line) => line.split(","));
  const errors = rows.map(([error]) => Number(error));
  const calls = rows.flatMap(([, , anomaly], i) => (anomaly === "true" ? [32 * i] : []));
  // Everything that knocks, and at most a window in ten of what does not.
  assert.ok(calls.filter((row) => row > 1800).length >= 5);
  assert.ok(calls.filter((row) => row + 32 < 1800).length <= 5, String(calls));
  // A window that begins behind nine tenths of the rows is all fault.
  const faulty = errors.filter((_, i) => 32 * i > 1800);
  const usual = Math.max(...errors.filter((_, i) => 32 * i + 32 < 1800));
  assert.ok(faulty.length >= 5);
  for (const error of faulty) assert.ok(error > usual, `${error} ${usual}`);
});

const rolesOf = async (play: string, ...least: string[]) => {
  const roles = mkdtempSync(join(folder, "roles-"));
  const { code, stderr } = await script("shakespeare/roles.js", play, roles, ...least);
  assert.equal(code, 0, stderr);
  return roles;
};

test("a play becomes a text for each role", async () => {
  const play = join(folder, "play.txt");
  writeFileSync(play, "ROMEO:\nWhat light?\nSoft.\n\nFirst Citizen:\nSpeak.\n\nROMEO:\nIt is.\n");
  const roles = await rolesOf(play, "5");
  assert.deepEqual(readdirSync(roles).sort(), ["First-Citizen.txt", "ROMEO.txt"]);
  assert.equal(readFileSync(join(roles, "ROMEO.txt"), "utf8"), "What light?\nSoft.\n\nIt is.\n\n");
});

const full = join(process.env["FEDFLAT_DATA"] ?? "", "tiny-shakespeare", "input.txt");
const skip = existsSync(full) ? false : "no tiny-shakespeare/input.txt in FEDFLAT_DATA";

test("Tiny Shakespeare, each role a client, learns the next character", { skip }, async () => {
  const roles = await rolesOf(full, "20000");
  const { code, stdout, stderr } = await run(
    ...["simulate", "--data", roles, "--window", "64", "--model", "characters", "--zeta", "0"],
    ...["--split", "groups", "--rounds", "2", "--clients-per-round", "2", "--learning-rate", "0.1"],
    ...["--stride", "256", "--local-epochs", "1", "--run", join(folder, "shakespeare")],
  );
  assert.equal(code, 0, stderr);
  const bits = [...stdout.matchAll(/bits per symbol (\d\.\d+), loss/g)].map(([, n]) => Number(n));
  // A guess by the characters' frequencies has 4.8 bits, one among 65 has 6.
  assert.ok(bits.at(-1)! < 6.02 && bits.at(-1)! < bits[0], String(bits));
});
