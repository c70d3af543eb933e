import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout } from "node:timers/promises";
import { firstCheckpoint } from "../aggregator/aggregation/reducer.js";
import { openReducerInWorker } from "../aggregator/aggregation/reducer-in-worker.js";
import { ruleNamed } from "../aggregator/aggregation/rules/built-in.js";
import { fedavg } from "../runtime/algorithms/fedavg.js";
import { codecNamed } from "../runtime/codecs/built-in.js";
import { sha256Hex } from "../runtime/platform/node-sha256.js";
import { layoutOf } from "../runtime/tensors/layout.js";
import { random } from "../runtime/tensors/random.js";

// The longest turns of the event loop, in milliseconds: while a worker combines 20 updates of a
// million numbers by the rule of that name, and while nothing is done. Of three rounds the quietest,
// for what else the machine does makes turns only longer. Prints { busy, idle } as JSON.

const CLIENTS = 20;
const SIZE = 1_000_000;
const ROUNDS = 3;

const { name: rule, defaults: numbers } = ruleNamed(process.argv[2]);
const layout = layoutOf([{ name: "0.kernel", shape: [SIZE] }]);
const reducer = await openReducerInWorker({
  algorithm: "fedavg",
  algorithmSettings: {},
  codec: "float32",
  codecSettings: {},
  modelCodec: "float32",
  layout,
  maxAbs: 1024,
  maxNorm: Infinity,
  clipUpdateNorm: Infinity,
  rule: { rule, hostile: 4, numbers, bucket: 1, seed: "1" },
});
const first = firstCheckpoint(fedavg, {}, layout, {}, new Float32Array(SIZE));
await reducer.load(first.state.bytes);
const form = codecNamed("float32").form(layout, ["delta"]);
const chance = random("turns");
const updates = Array.from({ length: CLIENTS }, () => {
  const bytes = form.encode({ delta: Float32Array.from({ length: SIZE }, chance.normal) });
  const shared = new Uint8Array(new SharedArrayBuffer(bytes.length));
  shared.set(bytes);
  return { bytes: shared, sha256: sha256Hex(bytes) };
});

async function round(number: number): Promise<void> {
  await reducer.openFold({ round: number, attempt: 1, updates: CLIENTS, samples: 1, staleness: 0 });
  for (const [i, { sha256, bytes }] of updates.entries()) {
    await reducer.check(`${i}`, sha256, bytes, { work: "", samples: 1, fromHalf: false });
    await reducer.fold(`${i}`, `client-${i}`, 1, 0);
  }
  await reducer.finish(Uint8Array.from(first.model.bytes), CLIENTS);
}

/** The longest turn while that is done, and how long it took. */
async function longest(work: () => Promise<unknown>): Promise<{ turn: number; took: number }> {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  const start = performance.now();
  delay.enable();
  await work();
  delay.disable();
  return { turn: delay.max / 1e6, took: performance.now() - start };
}

const busy: number[] = [];
const idle: number[] = [];
for (let i = 1; i <= ROUNDS; i++) {
  const { turn, took } = await longest(() => round(i));
  busy.push(turn);
  idle.push((await longest(() => setTimeout(took))).turn);
}
await reducer.close();
console.log(JSON.stringify({ busy: Math.min(...busy), idle: Math.min(...idle) }));
