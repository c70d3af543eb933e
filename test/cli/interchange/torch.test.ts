import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { filesBeside, readAny } from "../../../cli/interchange/read.js";
import { repository } from "../command.js";
import { assertNear, close, outputsOf } from "./running.js";

const folder = mkdtempSync(join(tmpdir(), "fedflat-torch-"));
after(() => {
  close();
  rmSync(folder, { recursive: true });
});

const made = (() => {
  try {
    execFileSync("/usr/bin/python3", [repository("test/cli/interchange/state-dict.py"), folder], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    return true;
  } catch {
    return false;
  }
})();
const options = { skip: made ? false : "no PyTorch here: python3-torch writes the state_dicts" };

const NETWORKS: Readonly<Record<string, unknown>> = {
  images: {
    input: [8, 8, 3],
    layers: [
      { type: "conv2d", filters: 4, kernelSize: 3, padding: "same", activation: "relu" },
      { type: "depthwiseConv2d", kernelSize: 3 },
      { type: "groupNorm", groups: 2 },
      { type: "maxPool", size: 2 },
      { type: "conv2dTranspose", filters: 5, kernelSize: 2, strides: 2 },
      { type: "flatten" },
      { type: "dense", units: 6, activation: "tanh" },
      { type: "dense", units: 3 },
    ],
  },
  gru: {
    input: [6, 3],
    layers: [
      { type: "dense", units: 4 },
      { type: "layerNorm" },
      { type: "gru", units: 5 },
      { type: "dense", units: 2 },
    ],
  },
  lstm: {
    input: [6, 3],
    layers: [
      { type: "dense", units: 4 },
      { type: "layerNorm" },
      { type: "lstm", units: 5 },
      { type: "dense", units: 2 },
    ],
  },
};

for (const [name, network] of Object.entries(NETWORKS))
  test(`a state_dict and its description give PyTorch's outputs: ${name}`, options, async () => {
    const path = join(folder, `${name}.safetensors`);
    const imported = await readAny(readFileSync(path), { network, beside: filesBeside(path) });
    const { x, y } = JSON.parse(readFileSync(join(folder, `${name}.json`), "utf8")) as {
      x: number[];
      y: number[];
    };
    assertNear(await outputsOf(imported, Float32Array.from(x)), y);
  });

test(
  "a state_dict is refused without a description, and where it does not fit",
  options,
  async () => {
    const path = join(folder, "images.safetensors");
    const beside = filesBeside(path);
    const bytes = readFileSync(path);
    await assert.rejects(async () => readAny(bytes, { beside }), {
      code: "usage",
      message: /^"--description" expected JSON beside a state_dict/,
    });
    await assert.rejects(async () => readAny(bytes, { network: NETWORKS["gru"], beside }), {
      code: "import",
      message: /^"0 \(for layers\[0\].dense\).weight" expected 4 x 3, got 4 x 3 x 3 x 3$/,
    });
  },
);
