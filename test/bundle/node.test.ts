import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { copyFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { Worker } from "node:worker_threads";
import { nodePlatform } from "../../runtime/platform/node.js";
import type { WorkerPort } from "../../runtime/platform/platform.js";
import { trainerOf } from "../../runtime/training/trainer.js";
import { federation } from "../aggregator/run/federation.js";
import { examples, localRound, smallModel } from "./local-round.js";

const FILES = [
  "client-node.js",
  "client-node-worker.js",
  "client-node-shared.js",
  "kernels.simd.wasm",
  "kernels.relaxed.wasm",
  "tfjs-backend-wasm-simd.wasm",
];

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "fedflat-bundle-"));
  const dist = new URL("../../../dist/", import.meta.url);
  for (const file of FILES) await copyFile(new URL(file, dist), join(folder, file));
});
after(() => rm(folder, { recursive: true }));

test("the Node bundle is imported from a folder that holds nothing else", async () => {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [
      "--input-type=module",
      "--eval",
      `console.log(Object.keys(await import(${JSON.stringify(join(folder, "client-node.js"))})).join())`,
    ],
    { cwd: folder },
  );
  const names = stdout.trim().split(",");
  for (const name of ["FederatedClient", "loadModel", "ConfigError"])
    assert.ok(names.includes(name), stdout);
});

test("the Node bundle's worker trains a local round to the delta of the unbundled one", async (t) => {
  const bundled = trainerOf((): WorkerPort => {
    const worker = new Worker(join(folder, "client-node-worker.js"));
    const port: WorkerPort = {
      post: (message, transfer = []) => worker.postMessage(message, transfer),
      terminate: () => void worker.terminate(),
    };
    worker.on("message", (message) => port.onMessage?.(message));
    worker.on("error", (error) => port.onExit?.(String(error)));
    return port;
  });
  const unbundled = trainerOf(nodePlatform().startWorker);
  t.after(() => [bundled, unbundled].forEach((trainer) => trainer.close()));
  const { delta } = await bundled.train(localRound());
  assert.deepEqual(delta, (await unbundled.train(localRound())).delta);
});

test("a program without the bundle's worker leaves the run, and says which file is not there", async (t) => {
  const run = await federation({ rounds: 1, minimum: 1 }, { model: smallModel() });
  t.after(() => run.end());
  const alone = join(folder, "alone");
  await mkdir(alone);
  for (const file of ["client-node.js", "client-node-shared.js"])
    await copyFile(join(folder, file), join(alone, file));
  const program = join(alone, "device.mjs");
  await writeFile(
    program,
    `import { FederatedClient } from "./client-node.js";
    const [url, data] = process.argv.slice(2);
    const { x, y } = JSON.parse(data);
    const client = new FederatedClient({ url, state: "state", data: { x: new Float32Array(x), y } });
    await client.run().catch(({ code, message }) => console.log(code, message));`,
  );
  const { x, y } = examples(30, 1);
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [program, run.url, JSON.stringify({ x: [...x], y })],
    { cwd: alone },
  );
  const url = pathToFileURL(join(alone, "client-node-worker.js"));
  assert.match(stdout, /^worker-unusable "worker" expected to start, got Cannot find module/);
  assert.ok(stdout.includes(`(${url.href})`), stdout);
});

test("two processes that have nothing but the Node bundle train a round with a real aggregator", async (t) => {
  const run = await federation({ rounds: 1, minimum: 2 }, { model: smallModel() });
  t.after(() => run.end());
  const program = join(folder, "device.mjs");
  await writeFile(
    program,
    `import { FederatedClient } from "./client-node.js";
    const [url, state, data] = process.argv.slice(2);
    const { x, y } = JSON.parse(data);
    const client = new FederatedClient({ url, state, data: { x: new Float32Array(x), y } });
    const { reason, model } = await client.run();
    console.log(reason, model.sha256);`,
  );
  const devices = [1, 2].map(async (seed) => {
    const { x, y } = examples(30, seed);
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [program, run.url, join(folder, `state-${seed}`), JSON.stringify({ x: [...x], y })],
      { cwd: folder },
    );
    return stdout.trim();
  });
  const said = await Promise.all(devices);
  const ending = await run.aggregator.done;
  assert.equal(ending.rounds, 1);
  assert.deepEqual(said, Array(2).fill(`finished ${run.aggregator.model.sha256}`));
});
