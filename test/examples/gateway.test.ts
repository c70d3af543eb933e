import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { appendFile, open, readFile, stat, writeFile } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { Aedes } from "aedes";
import mqtt from "mqtt";
import { openData } from "../../cli/data.js";
import { modelNamed } from "../../cli/model.js";
import { initialWeights } from "../../runtime/models/initial.js";
import type { Model } from "../../runtime/models/model.js";
import { networkOf } from "../../runtime/models/network.js";
import { preset } from "../../runtime/models/presets.js";
import { random } from "../../runtime/tensors/random.js";
import { federation } from "../aggregator/run/federation.js";
import { startNode } from "../cli/command.js";
import { installed, type Installed } from "./installed.js";
import { until } from "../until.js";

const SIZE = 128 * 9;

interface Message {
  readonly window: readonly (readonly number[])[];
  readonly activity?: string;
}

/** The example's modules, as far as the tests call them themselves. */
type Gateway = (
  settings: Record<string, unknown>,
  surroundings: {
    signal: AbortSignal;
    log(line: string): void;
    now(): Date;
  },
) => Promise<void>;
type OpenWindows = (
  path: string,
  size: { capacity: number; size: number },
) => {
  readonly count: number;
  readonly position: number;
  add(activity: string, values: Float32Array, position?: number): void;
  examples(classes: readonly string[]): { x: Float32Array; y: number[] };
  close(): void;
};
type Hours = (text: string) => (time: Date) => boolean;

let example: Installed;
let gateway: Gateway;
let openWindows: OpenWindows;
let hours: Hours;
let model: Model;
before(async () => {
  example = await installed("gateway", ["mqtt"]);
  const load = async (file: string): Promise<Record<string, unknown>> =>
    import(pathToFileURL(example.path(file)).href);
  gateway = (await load("gateway.js"))["gateway"] as Gateway;
  openWindows = (await load("windows.js"))["openWindows"] as OpenWindows;
  hours = (await load("night.js"))["hours"] as Hours;
  const card = await modelNamed(example.path("model.json"));
  const network = networkOf(card.description);
  model = {
    ...card,
    layout: network.layout,
    weights: initialWeights(network, "gateway"),
  };
});
after(() => example.remove());

/**
 * Windows of UCI HAR where FEDFLAT_DATA has them, else generated ones whose activity is the size of
 * their movement.
 */
async function messages(count: number): Promise<Message[]> {
  const path = join(process.env.FEDFLAT_DATA ?? "", "uci-har.npz");
  const { classes } = model;
  const rows = (values: ArrayLike<number>) =>
    Array.from({ length: 128 }, (_, i) => Array.from({ length: 9 }, (_, j) => values[9 * i + j]));
  if (process.env.FEDFLAT_DATA && existsSync(path)) {
    const { inputs, labels } = (await openData(path)).train!;
    const step = Math.floor(labels.length / count);
    return Array.from({ length: count }, (_, i) => ({
      activity: classes[labels[i * step]],
      window: rows(inputs.subarray(i * step * SIZE, (i * step + 1) * SIZE)),
    }));
  }
  const chance = random("windows", 1);
  return Array.from({ length: count }, (_, i) => ({
    activity: classes[i % 6],
    window: rows(Array.from({ length: SIZE }, () => ((i % 6) + 1) * chance.normal())),
  }));
}

test("the example's model is the preset sensor, with names", () => {
  assert.deepEqual(model.description, preset("sensor"));
});

test("two gateways train at night on what came over MQTT; one was killed before, and kept it", async (t) => {
  const broker = await Aedes.createBroker();
  const port = createServer(broker.handle);
  await new Promise<void>((resolve) => port.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    broker.close();
    port.close();
  });
  const url = `mqtt://127.0.0.1:${(port.address() as AddressInfo).port}`;
  const run = await federation(
    { rounds: 2, minimum: 2, batchSize: 16, learningRate: 0.05 },
    { model },
  );
  t.after(() => run.end());
  const rounds: { participants: readonly string[]; samples: number }[] = [];
  run.aggregator.on("round", ({ participants, samples = NaN }) =>
    rounds.push({ participants, samples }),
  );
  const settings = (name: string, night: string) => ({
    aggregator: run.url,
    state: example.path(name),
    night,
    mqtt: {
      url,
      topic: `${name}/windows`,
      predictions: `${name}/predictions`,
      clientId: name,
    },
  });

  const sensors = await mqtt.connectAsync(url);
  t.after(() => sensors.endAsync());
  const windows = await messages(120);
  const send = (name: string, message: unknown) =>
    sensors.publishAsync(`${name}/windows`, JSON.stringify(message), {
      qos: 1,
    });

  // A service, in whose hours it is always night.
  const config = example.path("attic.json");
  await writeFile(config, JSON.stringify(settings("attic", "00:00-24:00")));
  const start = () => startNode(example.path("main.js"), config);
  const killed = start();
  await killed.until(/Subscribed/);
  await killed.until(/Connected to ws/);
  for (const message of windows.slice(0, 60)) await send("attic", message);
  await send("attic", { activity: "WALKING", window: [[1, 2, 3]] });
  await killed.until(/A message was left out: "window" expected 128 x 9/);
  killed.process.kill("SIGKILL");
  await killed.ended;
  const attic = start();
  t.after(() => attic.process.kill("SIGKILL"));
  await attic.until(/60 windows are on disk/);

  // And one whose clock is in the test's hands.
  let time = new Date(2030, 0, 1, 12, 0);
  const stop = new AbortController();
  const log: string[] = [];
  const cellar = gateway(settings("cellar", "23:00-05:00"), {
    signal: stop.signal,
    log: (line) => log.push(line),
    now: () => time,
  });
  t.after(() => stop.abort());
  await until(() => log.some((line) => /Subscribed/.test(line)));
  for (const message of windows.slice(60)) await send("cellar", message);
  const standing = () => run.aggregator.status().clients.map(({ state }) => state);
  await until(() => standing().some((state) => /night/.test(state)));
  await until(() => standing().some((state) => /ready/.test(state)));
  assert.match(run.aggregator.status().waitsFor, /Round 1 waits for clients/);

  time = new Date(2030, 0, 2, 1, 0);
  const ending = await run.aggregator.done;
  assert.equal(ending.reason, "finished");
  assert.equal(rounds.length, 2);
  for (const { participants, samples } of rounds) {
    assert.equal(participants.length, 2);
    // Each holds out about a tenth of its 60 windows.
    assert.ok(samples > 90 && samples < 120, String(samples));
  }

  await attic.until(/The run is finished/);
  await sensors.subscribeAsync("attic/predictions");
  const prediction = new Promise<Record<string, unknown>>((resolve) =>
    sensors.on("message", (_, text) => resolve(JSON.parse(String(text)))),
  );
  await send("attic", { window: windows[0].window });
  const { activity, probability } = await prediction;
  assert.ok(model.classes.includes(String(activity)));
  assert.ok(Number(probability) > 1 / 6 && Number(probability) <= 1);

  attic.process.kill("SIGTERM");
  const { code, stderr } = await attic.ended;
  assert.deepEqual([code, stderr], [0, ""]);
  stop.abort();
  await cellar;
});

test("a gateway that reads a file takes each line once, whatever kills it", async (t) => {
  const file = example.path("windows.jsonl");
  const config = example.path("file.json");
  await writeFile(
    config,
    JSON.stringify({
      aggregator: "ws://127.0.0.1:9",
      state: example.path("file-state"),
      night: "23:00-05:00",
      file,
    }),
  );
  const lines = (await messages(5)).map((message) => JSON.stringify(message));
  await writeFile(file, `${lines[0]}\n${lines[1]}\n${lines[2].slice(0, 500)}`);
  const start = () => startNode(example.path("main.js"), config);
  const killed = start();
  t.after(() => killed.process.kill("SIGKILL"));
  await killed.until(/No line to/);
  killed.process.kill("SIGKILL");
  await killed.ended;
  await appendFile(file, `${lines[2].slice(500)}\nno window\n${lines[3]}\n`);
  const again = start();
  t.after(() => again.process.kill("SIGKILL"));
  await again.until(/2 windows are on disk/);
  await again.until(/A message was left out/);
  await again.until(/No line to/);
  again.process.kill("SIGTERM");
  assert.equal((await again.ended).code, 0);
  const windows = openWindows(join(example.path("file-state"), "windows.bin"), {
    capacity: 2000,
    size: SIZE,
  });
  assert.equal(windows.count, 4);
  windows.close();
});

test("the ring keeps the newest windows, in their places, and passes over what was half written", async () => {
  const path = example.path("ring.bin");
  const size = { capacity: 4, size: 3 };
  const ring = openWindows(path, size);
  const add = (to: typeof ring, i: number) =>
    to.add(i % 2 ? "odd" : "even", Float32Array.of(i, i, i), 10 * i);
  for (let i = 0; i < 6; i++) add(ring, i);
  const firsts = (x: Float32Array) => [...x].filter((_, i) => i % 3 === 0);
  const all = ring.examples(["even", "odd"]);
  assert.deepEqual(firsts(all.x), [4, 5, 2, 3]);
  assert.deepEqual(all.y, [0, 1, 0, 1]);
  assert.deepEqual(firsts(ring.examples(["odd"]).x), [5, 3]);
  ring.close();
  const { size: bytes } = await stat(path);

  const again = openWindows(path, size);
  assert.deepEqual([again.count, again.position], [4, 50]);
  add(again, 6);
  again.close();
  assert.equal((await stat(path)).size, bytes);

  const torn = await open(path, "r+");
  await torn.write(Buffer.from("torn"), 0, 4, (2 * bytes) / 4 + 50);
  await torn.close();
  const mended = openWindows(path, size);
  assert.deepEqual(firsts(mended.examples(["even", "odd"]).x), [4, 5, 3]);
  // The torn one was the newest: its place is the next to be written.
  add(mended, 7);
  assert.deepEqual(firsts(mended.examples(["even", "odd"]).x), [4, 5, 7, 3]);
  mended.close();
});

test("hours lie within a day or over midnight", () => {
  const at = (hour: number, minute = 0) => new Date(2030, 0, 1, hour, minute);
  const night = hours("23:00-05:00");
  assert.deepEqual([at(22, 59), at(23), at(0), at(4, 59), at(5), at(12)].map(night), [
    false,
    true,
    true,
    true,
    false,
    false,
  ]);
  const noon = hours("12:00-13:30");
  assert.deepEqual([at(11, 59), at(12), at(13, 29), at(13, 30)].map(noon), [
    false,
    true,
    true,
    false,
  ]);
  assert.ok(hours("00:00-24:00")(at(23, 59)));
  for (const wrong of ["25:00-05:00", "23:60-05:00", "night", ""])
    assert.throws(() => hours(wrong), /"night" expected hours like/);
});

test("a mistake in the settings is a sentence", async () => {
  const config = example.path("wrong.json");
  const start = async (settings: string) => {
    await writeFile(config, settings);
    const { code, stderr } = await startNode(example.path("main.js"), config).ended;
    assert.equal(code, 1);
    assert.doesNotMatch(stderr, /\n.*\n/);
    return stderr;
  };
  const state = example.path("wrong");
  const given = { aggregator: "ws://127.0.0.1:9", state, night: "1-2" };
  assert.match(await start("{"), /^gateway: /);
  assert.match(await start(JSON.stringify(given)), /"night" expected/);
  assert.match(
    await start(JSON.stringify({ ...given, night: "01:00-02:00" })),
    /expected either mqtt or file/,
  );
});

test("the service's unit is one that systemd takes, and names what is there", async (t) => {
  const unit = example.path("fedflat-gateway.service");
  const text = await readFile(unit, "utf8");
  assert.match(text, /^ExecStart=\/usr\/bin\/node .*main\.js \$\{CRED/m);
  if (spawnSync("systemd-analyze", ["--version"]).status !== 0)
    return t.skip("no systemd-analyze here");
  await writeFile(
    unit,
    text.replace("/usr/bin/node", process.execPath).replace("/opt/fedflat-gateway", example.folder),
  );
  execFileSync("systemd-analyze", ["verify", "--man=no", unit], {
    stdio: ["ignore", "ignore", "pipe"],
  });
});
