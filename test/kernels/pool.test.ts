import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { eachGeometry, windowOf, type Case } from "./geometry.js";
import { assertClose, BUILDS, noise, openLab } from "./fixtures.js";
import * as reference from "./reference.js";
import { inputSize, outputPixels } from "./reference.js";

/** batch, [height, width, channels], [windowHeight, windowWidth]; the last number is not used. */
const CASES: readonly Case[] = [
  [1, [1, 1, 1], [1, 1], 0],
  [2, [6, 6, 3], [2, 2], 0],
  [2, [7, 5, 4], [3, 2], 0],
  [1, [9, 9, 13], [2, 3], 0],
  [3, [1, 67, 9], [1, 2], 0],
  [2, [10, 10, 67], [2, 2], 0],
];

for (const build of BUILDS)
  describe(`pooling, ${build}`, async () => {
    const lab = await openLab(build);
    const { kernels } = lab;

    test("max-pool, its argmax, its gradient and its directional derivative", () =>
      eachGeometry(CASES, (g, _, what) => {
        // Rounded, so that windows have equal elements and the first must win.
        const x = noise(inputSize(g), 1).map((v) => Math.round(4 * v) / 4);
        const expected = reference.maxPool(g, x);
        const size = expected.y.length;
        const inX = lab.put(x);
        const [y, plain] = [lab.room(size), lab.room(size)];
        const argmax = lab.put(new Int32Array(size).fill(-1));
        const window = windowOf(lab, g);
        kernels.maxPool(...window, inX.address, y.address, argmax.address);
        kernels.maxPool(...window, inX.address, plain.address, 0);
        assertClose(y.read(), expected.y, 0, what);
        assertClose(plain.read(), expected.y, 0, `${what}, no argmax`);
        assert.deepEqual(argmax.read(), expected.argmax, what);

        const dy = noise(size, 2);
        const dx = lab.room(x.length);
        kernels.maxPoolBackprop(lab.put(dy).address, argmax.address, dx.address, x.length, size);
        const expectedDx = new Float64Array(x.length);
        expected.argmax.forEach((from, i) => (expectedDx[from] += dy[i]));
        assertClose(dx.read(), expectedDx, 1e-6, `${what}: gradient`);

        for (const coefficient of [0, 0.3]) {
          const activated = x.map((value) => Math.max(value, 0));
          const pooled = reference.maxPool(g, activated);
          const a = lab.put(activated);
          const bias = lab.room(g.inChannels);
          kernels.maxPoolReluBackprop(
            a.address,
            lab.put(Float32Array.from(pooled.y)).address,
            lab.put(dy).address,
            lab.put(pooled.argmax).address,
            bias.address,
            x.length,
            size,
            g.inChannels,
            coefficient,
          );
          const dz = Float64Array.from(activated, (v) => coefficient * v);
          pooled.argmax.forEach((from, i) => {
            if (activated[from] > 0) dz[from] += dy[i];
          });
          const sums = new Float64Array(g.inChannels);
          dz.forEach((value, i) => (sums[i % g.inChannels] += value));
          assertClose(a.read(), dz, 1e-6, `${what}: with ReLU`);
          assertClose(bias.read(), sums, 1e-6, `${what}: bias`);
        }

        const tangent = noise(x.length, 3);
        const dot = lab.room(size);
        kernels.gatherByIndex(lab.put(tangent).address, argmax.address, dot.address, size);
        assertClose(
          dot.read(),
          Float32Array.from(expected.argmax, (from) => tangent[from]),
          0,
          `${what}: derivative`,
        );
        lab.close();
      }));

    test("average-pool and its gradient", () =>
      eachGeometry(CASES, (g, _, what) => {
        const x = noise(inputSize(g), 1);
        const dy = noise(outputPixels(g) * g.inChannels, 2);
        const [y, dx] = [lab.room(dy.length), lab.room(x.length)];
        kernels.avgPool(...windowOf(lab, g), lab.put(x).address, y.address);
        kernels.avgPoolBackprop(...windowOf(lab, g), lab.put(dy).address, dx.address);
        assertClose(y.read(), reference.avgPool(g, x), 1e-6, what);
        assertClose(dx.read(), reference.avgPoolBackprop(g, dy), 1e-6, `${what}: gradient`);
        lab.close();
      }));
  });
