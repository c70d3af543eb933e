import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Command } from "commander";
import { readAggregatorSettings } from "../../aggregator/settings.js";
import { ConfigError } from "../../runtime/errors.js";
import { NAMES, type CommandName } from "../../cli/flags.js";
import { addOptions, givenTo, readSettings, type SettingsOf } from "../../cli/settings.js";

const folder = mkdtempSync(join(tmpdir(), "fedflat-settings-"));
after(() => rmSync(folder, { recursive: true }));

/** Parses arguments as the command line does. */
function parse<C extends CommandName>(name: C, ...argv: string[]): SettingsOf<C> {
  const command = new Command(name).exitOverride();
  addOptions(command, name);
  command.parse(argv, { from: "user" });
  return readSettings(name, givenTo(command));
}

function config(content: unknown): string {
  const file = join(folder, "config.json");
  writeFileSync(file, typeof content === "string" ? content : JSON.stringify(content));
  return file;
}

const refuses = (work: () => unknown, message: RegExp) =>
  assert.throws(
    work,
    (error: Error) =>
      error instanceof ConfigError && error.code === "usage" && message.test(error.message),
    `expected ${message}`,
  );

test("defaults are those of the paper's set-up", () => {
  const settings = parse("simulate", "--data", "d");
  assert.deepEqual(
    [
      settings.localEpochs,
      settings.batchSize,
      settings.learningRate,
      settings.learningRateDecay,
      settings.weightDecay,
      settings.clipNorm,
      settings.zeta,
    ],
    [5, 50, 0.1, 0.998, 0.001, 10, 0.15],
  );
  assert.equal(settings.split, "iid");
  assert.equal(parse("demo").split, "dirichlet:0.3");
  assert.equal(parse("join", "--data", "d").split, undefined);
});

test("a flag of a setting of the run has that setting's default and bounds", () => {
  // serve leaves these open, to see whether they were given, or because the data decide.
  const open = ["buffer", "concurrency", "maxStaleness", "fraction", "evaluateFraction"];
  const defaults = Object.entries(readAggregatorSettings({}));
  const settings: Record<string, unknown> = parse("serve");
  for (const [key, value] of defaults.filter(([key]) => key in settings && key !== "seed"))
    assert.deepEqual(settings[key], open.includes(key) ? undefined : value, key);
  assert.equal(settings["quorum"], 0.8);
  assert.equal(parse("demo").localEpochs, 2);

  refuses(() => parse("serve", "--batch-size", "65537"), /a whole number from 1 to 65536, got/);
  refuses(
    () => parse("serve", "--zeta", "-1"),
    /"--zeta" expected a number from 0 to 1000000, got/,
  );
  refuses(() => parse("serve", "--quorum", "0"), /a number above 0, at most 1, got "0"/);
  refuses(
    () => parse("serve", "--minimum", "0"),
    /"--minimum" expected a whole number from 1, got/,
  );
  refuses(() => parse("serve", "--mode", "other"), /expected synchronous or buffered, got "other"/);
});

test("durations are said in seconds, memory in megabytes", () => {
  const argv = ["--deadline", "1.5", "--remember", "86400", "--upload-memory", "0.5"];
  const { deadline, remember, budgetBytes } = parse("serve", ...argv);
  assert.deepEqual([deadline, remember, budgetBytes], [1500, 86_400_000, 500_000]);
  refuses(
    () => parse("serve", "--absence", "0"),
    /"--absence" expected a number from 0.001 to 2147483.647, got "0"/,
  );
});

test("a flag goes before the config file, and the file before the default", () => {
  const file = config({
    rounds: 7,
    zeta: 0.6,
    "local-epochs": 2,
    set: { mu: 0.5 },
    resume: true,
  });
  const settings = parse("serve", "--config", file, "--rounds", "3");
  assert.equal(settings.rounds, 3);
  assert.equal(settings.zeta, 0.6);
  assert.equal(settings.localEpochs, 2);
  assert.deepEqual(settings.set, { mu: 0.5 });
  assert.equal(settings.resume, true);
  assert.equal(settings.port, 7400);
});

test("pairs may be given more than once", () => {
  const settings = parse("serve", "--set", "mu=0.1", "--set", "tau=1e-3");
  assert.deepEqual(settings.set, { mu: 0.1, tau: 0.001 });
});

test("an unknown key of the config file is refused with the nearest name", () => {
  refuses(
    () => parse("serve", "--config", config({ "learning-rat": 1 })),
    /got "learning-rat" \(did you mean "learning-rate"\?\)/,
  );
  refuses(
    () => parse("serve", "--config", config({ localEpochs: 1 })),
    /did you mean "local-epochs"/,
  );
});

test("a config file that is missing, not JSON or no object is refused by name", () => {
  refuses(
    () => parse("serve", "--config", join(folder, "absent.json")),
    /"--config" expected a file that can be read, got ".*absent.json"/,
  );
  refuses(() => parse("serve", "--config", config("{")), /expected JSON/);
  refuses(() => parse("serve", "--config", config([1])), /expected an object of settings/);
});

test("a value out of bounds names the flag, or the file's key, and the bounds", () => {
  refuses(
    () => parse("serve", "--port", "70000"),
    /^"--port" expected a whole number from 0 to 65535, got "70000"$/,
  );
  // What is given without a flag is called by its own name.
  refuses(() => parse("keys", "revokes"), /^"action" expected list or revoke, got "revokes"$/);
  refuses(() => parse("serve", "--port", "ten"), /got "ten"/);
  refuses(() => parse("serve", "--rounds", "1.5"), /a whole number from 1/);
  refuses(() => parse("serve", "--rounds", ""), /got ""/);
  refuses(() => parse("serve", "--fraction", "0"), /above 0, at most 1/);
  refuses(() => parse("serve", "--learning-rate", "Infinity"), /a number/);
  refuses(
    () => parse("serve", "--config", config({ rounds: "many" })),
    /^"rounds" in ".*config.json" expected .*, got "many"$/,
  );
  refuses(
    () => parse("serve", "--algorithm", "fedavgg"),
    /"--algorithm" expected one of fedavg, fedprox.*, got "fedavgg"/,
  );
  refuses(() => parse("serve", "--set", "mu"), /name=number/);
  refuses(
    () => parse("join", "--data", "d", "--limits", "ram=1"),
    /modelBytes, memoryBytes, seconds/,
  );
  refuses(() => parse("join", "--data", "d", "--url", "localhost:7400"), /ws:\/\/127.0.0.1:7400/);
  refuses(() => parse("join"), /^"--data" expected a path, got nothing$/);
});

test("the help of every command names every setting and its default", () => {
  for (const name of NAMES) {
    const command = new Command(name);
    addOptions(command, name);
    const help = command.helpInformation();
    assert.match(help, /--json/);
    assert.match(help, /--config <file>/);
    assert.equal(/\(default 7400\)/.test(help), name === "serve");
  }
});

test("every command is the function of its name in the file of its name", async () => {
  for (const name of NAMES) {
    const file = (await import(`../../cli/${name}.js`)) as Record<string, unknown>;
    assert.equal(typeof file[name], "function", name);
  }
});
