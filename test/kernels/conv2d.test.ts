import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { eachGeometry, windowOf, type Case } from "./geometry.js";
import { assertClose, BUILDS, noise, openLab } from "./fixtures.js";
import * as reference from "./reference.js";
import { inputSize, outputPixels, taps } from "./reference.js";

/** batch, [height, width, channels], [kernelHeight, kernelWidth], outChannels */
const CASES: readonly Case[] = [
  [1, [1, 1, 1], [1, 1], 1],
  [2, [5, 5, 1], [5, 5], 3],
  [3, [6, 7, 2], [3, 3], 5],
  [2, [9, 8, 4], [2, 3], 8],
  [1, [8, 8, 3], [5, 5], 13],
  [5, [7, 7, 9], [3, 2], 12],
  [2, [1, 67, 5], [1, 5], 9],
  [3, [1, 33, 9], [1, 4], 16],
  [1, [1, 300, 2], [1, 3], 7],
  [1, [40, 40, 2], [3, 3], 4],
  [1, [24, 24, 3], [20, 20], 3],
  [3, [17, 16, 32], [5, 5], 36],
  [2, [16, 15, 36], [3, 3], 32],
  [2, [14, 14, 64], [5, 5], 32],
  [2, [6, 6, 67], [3, 3], 6],
  [4, [12, 12, 16], [5, 5], 20],
  [4, [15, 17, 3], [5, 5], 8],
  [4, [13, 18, 5], [3, 3], 12],
  [2, [23, 20, 2], [5, 3], 4],
  [3, [17, 16, 7], [3, 2], 8],
  [1, [30, 31, 17], [5, 1], 20],
  [1, [9, 100, 1], [5, 4], 4],
  [1, [7, 260, 5], [3, 3], 4],
  [5, [1, 67, 9], [1, 5], 16],
  [5, [1, 61, 32], [1, 5], 36],
  [2, [1, 131, 33], [1, 3], 12],
  [1, [3, 4, 600], [1, 1], 10],
  [1, [3, 3, 300], [2, 2], 67],
];
/**
 * The largest error against the largest result: 2e-6; for the shapes that go through Winograd's
 * filtering, whose sums of sums round more, 5e-6 along one axis and 2e-5 along both.
 */
function toleranceOf(g: reference.Windows, channels: number): number {
  const suits = (taps: number, stride: number) => (taps === 3 || taps === 5) && stride === 1;
  const height = suits(g.kernelHeight, g.strideHeight);
  const width = suits(g.kernelWidth, g.strideWidth);
  const square = height && width && g.kernelHeight === g.kernelWidth;
  if (square && Math.min(g.inChannels, channels) >= 16) return 2e-5;
  return height || (g.inHeight === 1 && width) ? 5e-6 : 2e-6;
}

/** A sum of w times a convolution: its gradients by differences of the float64 reference. */
test("the reference's gradients are its finite differences", () => {
  const g = reference.windows(2, [4, 5, 2], [3, 2], [2, 1], "same");
  const channels = 3;
  const x = noise(inputSize(g), 1);
  const w = noise(taps(g) * g.inChannels * channels, 2);
  const dy = noise(outputPixels(g) * channels, 3);
  const along = (y: Float64Array) => y.reduce((sum, v, i) => sum + v * dy[i], 0);
  assertClose(
    reference.conv2d.backpropInput(g, channels, dy, w),
    reference.finiteDifferences((at) => along(reference.conv2d.forward(g, channels, at, w)), x),
    1e-8,
    "dx",
  );
  assertClose(
    reference.conv2d.backpropFilter(g, channels, x, dy),
    reference.finiteDifferences((at) => along(reference.conv2d.forward(g, channels, x, at)), w),
    1e-8,
    "dw",
  );
});

for (const build of BUILDS)
  describe(`conv2d, ${build}`, async () => {
    const lab = await openLab(build);
    const { kernels, scratch } = lab;

    test("forward, with and without bias, ReLU and norm", () =>
      eachGeometry(CASES, (g, channels, what) => {
        const x = noise(inputSize(g), 1);
        const w = noise(taps(g) * g.inChannels * channels, 2);
        const bias = noise(channels, 3);
        const plain = reference.conv2d.forward(g, channels, x, w);
        const [inX, inW, inBias] = [lab.put(x), lab.put(w), lab.put(bias)];
        for (const full of [0, 1]) {
          const y = lab.room(plain.length);
          const run = () =>
            kernels.conv2d(
              ...windowOf(lab, g, channels),
              inX.address,
              inW.address,
              full ? inBias.address : 0,
              y.address,
              full,
              full,
              scratch,
            );
          const squares = run();
          const expected = full
            ? reference.relu(plain.map((v, i) => v + bias[i % channels]))
            : plain;
          const first = y.read();
          assertClose(first, expected, toleranceOf(g, channels), what);
          const expectedSquares = full ? reference.squaredNorm(expected) : 0;
          assert.ok(Math.abs(squares - expectedSquares) <= 1e-6 * expectedSquares, `${what}: norm`);
          assert.equal(run(), squares);
          assert.deepEqual(y.read(), first, "the same bits again");
        }
        lab.close();
      }));

    test("gradient by the input", () =>
      eachGeometry(CASES, (g, channels, what) => {
        const dy = noise(outputPixels(g) * channels, 1);
        const w = noise(taps(g) * g.inChannels * channels, 2);
        const [inDy, inW, dx] = [lab.put(dy), lab.put(w), lab.room(inputSize(g))];
        const run = () =>
          kernels.conv2dBackpropInput(
            ...windowOf(lab, g, channels),
            inDy.address,
            inW.address,
            dx.address,
            scratch,
          );
        run();
        const first = dx.read();
        assertClose(
          first,
          reference.conv2d.backpropInput(g, channels, dy, w),
          toleranceOf(g, channels),
          what,
        );
        run();
        assert.deepEqual(dx.read(), first, "the same bits again");
        lab.close();
      }));

    test("gradient by the filter", () =>
      eachGeometry(CASES, (g, channels, what) => {
        const x = noise(inputSize(g), 1);
        const dy = noise(outputPixels(g) * channels, 2);
        const [inX, inDy, dw] = [
          lab.put(x),
          lab.put(dy),
          lab.room(taps(g) * g.inChannels * channels),
        ];
        const run = () =>
          kernels.conv2dBackpropFilter(
            ...windowOf(lab, g, channels),
            inX.address,
            inDy.address,
            dw.address,
            scratch,
          );
        run();
        const first = dw.read();
        assertClose(
          first,
          reference.conv2d.backpropFilter(g, channels, x, dy),
          toleranceOf(g, channels),
          what,
        );
        run();
        assert.deepEqual(dw.read(), first, "the same bits again");
        lab.close();
      }));
  });
