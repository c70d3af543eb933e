import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fedavg } from "../../runtime/algorithms/fedavg.js";
import type { Algorithm } from "../../runtime/algorithms/algorithm.js";
import { federation } from "../aggregator/run/federation.js";
import { updateFor } from "../aggregator/run/raw-client.js";

// An algorithm's server step that gives what nobody could go on from: nothing of it is committed.

type Step = ReturnType<Algorithm["server"]["finish"]>;

/** FedAvg with a momentum that it broadcasts, whose second round ends otherwise. */
function diverging(change: (step: Step) => Step): Algorithm {
  let rounds = 0;
  return {
    ...fedavg,
    name: "diverging",
    client: { ...fedavg.client, receives: ["momentum"] },
    server: {
      ...fedavg.server,
      state: { momentum: () => 0 },
      broadcast: ({ momentum }) => ({ momentum }),
      finish(input) {
        const { global } = fedavg.server.finish({ ...input, state: {} });
        const step = { global, state: { momentum: new Float64Array(global.length).fill(0.5) } };
        return ++rounds < 2 ? step : change(step);
      },
    },
  };
}

const momentum = (value: number) => (step: Step) => ({
  ...step,
  state: { momentum: step.state["momentum"].map((m, i) => (i === 13 ? value : m)) },
});

for (const [what, change, message] of [
  [
    "an infinite model",
    (step: Step) => ({ ...step, global: step.global.map((w, i) => (i === 5 ? w / 0 : w)) }),
    /^"0\.kernel" expected finite numbers .*not committed.*, got Infinity at \[1, 2\]$/,
  ],
  ["a state with NaN", momentum(NaN), /^"momentum\/0\.bias" .* got NaN at \[1\]$/],
  ["a state that no float32 can tell", momentum(1e39), /^"momentum\/0\.bias" .* got Infinity at/],
  [
    "a model of another type",
    (step: Step) => ({ ...step, global: Float64Array.from(step.global) as never }),
    /^"global" expected a Float32Array of 15 numbers .* got a Float64Array of 15$/,
  ],
  [
    "a state of another length",
    (step: Step) => ({ ...step, state: { momentum: new Float64Array(3) } }),
    /^"momentum" expected a Float64Array of 15 numbers .* got a Float64Array of 3$/,
  ],
  [
    "no state",
    (step: Step) => ({ ...step, state: {} }),
    /^"momentum" expected a Float64Array of 15 numbers .* got nothing$/,
  ],
] as const)
  test(`a server step that gives ${what} ends the run by name, and the last good round goes on`, async () => {
    const folder = await mkdtemp(join(tmpdir(), "fedflat-step-"));
    const settings = { rounds: 3, minimum: 1 };
    const members = { algorithms: ["diverging"] };
    const ones = (_: unknown, model: Uint8Array) => updateFor(model, () => 1);
    try {
      const f = await federation(settings, { folder, algorithm: diverging(change) });
      try {
        const lost = (await f.client("a", members)).work(ones);
        lost.catch(() => {});
        const ending = await f.aggregator.done;
        assert.deepEqual([ending.reason, ending.rounds], ["failed", 1]);
        assert.match(ending.message, message);
      } finally {
        await f.end();
      }
      const mended = await federation(settings, {
        folder,
        resume: true,
        algorithm: diverging((step) => step),
      });
      try {
        assert.equal(mended.aggregator.committed, 1);
        await (await mended.client("a", members)).work(ones);
        assert.equal((await mended.aggregator.done).rounds, 3);
      } finally {
        await mended.end();
      }
    } finally {
      await rm(folder, { recursive: true });
    }
  });
