import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { eachGeometry, windowOf, type Case } from "./geometry.js";
import { assertClose, BUILDS, noise, openLab } from "./fixtures.js";
import * as reference from "./reference.js";
import { inputSize, outputPixels, taps } from "./reference.js";

/** batch, [height, width, channels], [kernelHeight, kernelWidth], multiplier */
const CASES: readonly Case[] = [
  [1, [1, 1, 1], [1, 1], 1],
  [2, [5, 6, 3], [3, 3], 1],
  [2, [7, 5, 4], [3, 2], 1],
  [1, [9, 9, 13], [5, 5], 1],
  [3, [1, 67, 9], [1, 5], 1],
  [2, [6, 6, 3], [3, 3], 2],
  [1, [8, 7, 5], [2, 3], 4],
];

for (const build of BUILDS)
  describe(`depthwise convolution, ${build}`, async () => {
    const lab = await openLab(build);
    const { kernels } = lab;

    test("forward, with and without bias, ReLU and norm", () =>
      eachGeometry(CASES, (g, multiplier, what) => {
        const channels = g.inChannels * multiplier;
        const x = noise(inputSize(g), 1);
        const w = noise(taps(g) * channels, 2);
        const bias = noise(channels, 3);
        const plain = reference.depthwise.forward(g, multiplier, x, w);
        const [inX, inW, inBias] = [lab.put(x), lab.put(w), lab.put(bias)];
        for (const full of [0, 1]) {
          const y = lab.room(plain.length);
          const squares = kernels.depthwiseConv2d(
            ...windowOf(lab, g, channels),
            inX.address,
            inW.address,
            full ? inBias.address : 0,
            y.address,
            full,
            full,
          );
          const expected = full
            ? reference.relu(plain.map((v, i) => v + bias[i % channels]))
            : plain;
          assertClose(y.read(), expected, 1e-6, what);
          const expectedSquares = full ? reference.squaredNorm(expected) : 0;
          assert.ok(Math.abs(squares - expectedSquares) <= 1e-6 * expectedSquares, `${what}: norm`);
        }
        lab.close();
      }));

    test("gradient by the input", () =>
      eachGeometry(CASES, (g, multiplier, what) => {
        const channels = g.inChannels * multiplier;
        const dy = noise(outputPixels(g) * channels, 1);
        const w = noise(taps(g) * channels, 2);
        const dx = lab.room(inputSize(g));
        kernels.depthwiseConv2dBackpropInput(
          ...windowOf(lab, g, channels),
          lab.put(dy).address,
          lab.put(w).address,
          dx.address,
        );
        const expected = reference.depthwise.backpropInput(g, multiplier, dy, w);
        assertClose(dx.read(), expected, 1e-6, what);
        lab.close();
      }));

    test("gradient by the filter", () =>
      eachGeometry(CASES, (g, multiplier, what) => {
        const channels = g.inChannels * multiplier;
        const x = noise(inputSize(g), 1);
        const dy = noise(outputPixels(g) * channels, 2);
        const dw = lab.room(taps(g) * channels);
        kernels.depthwiseConv2dBackpropFilter(
          ...windowOf(lab, g, channels),
          lab.put(x).address,
          lab.put(dy).address,
          dw.address,
        );
        const expected = reference.depthwise.backpropFilter(g, multiplier, x, dy);
        assertClose(dw.read(), expected, 1e-6, what);
        lab.close();
      }));
  });
