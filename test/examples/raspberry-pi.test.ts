import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { networkOf } from "../../runtime/models/network.js";
import { preset } from "../../runtime/models/presets.js";
import { repository } from "../cli/command.js";
import { installed } from "./installed.js";
import { until } from "../until.js";

interface Power {
  mayTrain(answer: string): true | string;
  watchPower(options: {
    every: number;
    ask(done: (answer: string) => void): void;
  }): () => true | string;
}

const power = (): Promise<Power> =>
  import(pathToFileURL(repository("examples/raspberry-pi/power.js")).href);

test("what vcgencmd answers is a reason not to train, or none", async () => {
  const { mayTrain, watchPower } = await power();
  assert.equal(mayTrain("throttled=0x0\n"), true);
  assert.match(String(mayTrain("throttled=0x50005\n")), /power supply/);
  assert.match(String(mayTrain("throttled=0x8\n")), /hot/);
  // What once was, and is no longer; and a board that does not answer.
  assert.equal(mayTrain("throttled=0x50000\n"), true);
  assert.equal(mayTrain(""), true);
  const answers: ((answer: string) => void)[] = [];
  const available = watchPower({ every: 1, ask: (done) => answers.push(done) });
  assert.equal(available(), true);
  answers[0]("throttled=0x1");
  assert.match(String(available()), /power supply/);
  await until(() => answers.length >= 2);
  answers[1]("throttled=0x0");
  assert.equal(available(), true);
});

test("the note's numbers are those of the network and of the bench", async () => {
  const text = await readFile(repository("examples/raspberry-pi/README.md"), "utf8");
  const { size } = networkOf(preset("sensor")).layout;
  assert.ok(text.includes(`${Math.round((4 * size) / 1000)} kB`));
  const bench = await readFile(repository("bench/results.md"), "utf8");
  for (const name of ["sensor", "CIFAR"]) {
    const measured = new RegExp(`${name} network, batch 50: peak.*?([\\d.]+) MB`).exec(bench)!;
    const said = new RegExp(`${name} network, batch 50,.*?(\\d+) MB`).exec(text)!;
    // The bench is run again from time to time; the note need not follow each megabyte.
    assert.ok(Math.abs(Number(measured[1]) - Number(said[1])) < 15, name);
  }
});

test("systemd takes the gateway's unit with the board's drop-in", async (t) => {
  if (spawnSync("systemd-analyze", ["--version"]).status !== 0)
    return t.skip("no systemd-analyze here");
  const example = await installed("gateway");
  t.after(() => example.remove());
  const unit = example.path("fedflat-gateway.service");
  const text = await readFile(unit, "utf8");
  await writeFile(
    unit,
    text.replace("/usr/bin/node", process.execPath).replace("/opt/fedflat-gateway", example.folder),
  );
  await mkdir(`${unit}.d`);
  await cp(repository("examples/raspberry-pi/memory.conf"), `${unit}.d/memory.conf`);
  execFileSync("systemd-analyze", ["verify", "--man=no", unit], {
    stdio: ["ignore", "ignore", "pipe"],
  });
});
