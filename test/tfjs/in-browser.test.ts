import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { launchChromium, serveDist, withoutChromium } from "../bundle/chromium.js";

/** A web developer's program: tfjs, its wasm backend, and one import of ours. */
const PROGRAM = `
  import * as tf from "@tensorflow/tfjs-core";
  import "@tensorflow/tfjs-core/dist/register_all_gradients.js";
  import "@tensorflow/tfjs-backend-cpu";
  import "@tensorflow/tfjs-backend-wasm";
  import "fedflat/kernels";

  export async function train(backend) {
    await tf.setBackend(backend);
    const ramp = (shape, step) => {
      const size = shape.reduce((a, b) => a * b, 1);
      return tf.tensor(Array.from({ length: size }, (_, i) => ((i * step) % 19) / 19 - 0.5), shape);
    };
    const x = ramp([4, 6, 6, 2], 7);
    const y = ramp([4, 3], 5);
    const kernel = tf.variable(ramp([3, 3, 2, 5], 11));
    const dense = tf.variable(ramp([80, 3], 3));
    const optimizer = tf.train.sgd(0.1);
    for (let step = 0; step < 10; step++)
      optimizer.minimize(() => {
        const a = tf.relu(tf.conv2d(x, kernel, 1, "valid"));
        return tf.losses.meanSquaredError(y, tf.matMul(tf.reshape(a, [4, 80]), dense));
      });
    return { kernel: [...kernel.dataSync()], dense: [...dense.dataSync()] };
  }
`;

test(
  "a bundled page trains a convolution on tfjs-wasm, on its main thread",
  { skip: withoutChromium },
  async (t) => {
    const { outputFiles } = await build({
      stdin: {
        contents: PROGRAM,
        resolveDir: fileURLToPath(new URL("../../../", import.meta.url)),
      },
      bundle: true,
      write: false,
      format: "esm",
      platform: "browser",
      external: ["fs", "path"],
      logLevel: "error",
    });
    // Our module's files are looked for beside the code: esbuild leaves their URLs as they are.
    const place = "/runtime/platform/page.js";
    // A page with shared memory, where tfjs by itself would run its threaded build.
    const site = await serveDist(
      { [place]: outputFiles[0].text },
      {
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-embedder-policy": "require-corp",
      },
    );
    t.after(() => site.close());
    const browser = await launchChromium();
    t.after(() => browser.close());
    const page = await browser.newPage();
    await page.goto(site.url);
    assert.equal(await page.evaluate("crossOriginIsolated"), true);
    const { wasm, cpu } = await page.evaluate<
      Record<"wasm" | "cpu", { kernel: number[]; dense: number[] }>
    >(
      `import("${place}").then(async ({ train }) => ({ wasm: await train("wasm"), cpu: await train("cpu") }))`,
    );
    for (const name of ["kernel", "dense"] as const)
      wasm[name].forEach((weight, i) =>
        assert.ok(
          Math.abs(weight - cpu[name][i]) < 1e-5,
          `${name}[${i}]: expected ${cpu[name][i]}, got ${weight}`,
        ),
      );
  },
);
