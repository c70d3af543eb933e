import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { assertClose, BUILDS, noise, openLab } from "./fixtures.js";
import * as reference from "./reference.js";

/** batch, positions, channels, groups */
const CASES: readonly (readonly [number, number, number, number])[] = [
  [1, 1, 2, 1],
  [2, 3, 4, 4],
  [3, 5, 6, 2],
  [2, 7, 12, 3],
  [2, 9, 20, 4],
  [1, 67, 13, 1],
  [2, 64, 64, 4],
];
const EPSILON = 1e-5;

test("the reference's gradient is its finite differences", () => {
  const shape = [2, 3, 4, 2] as const;
  const x = noise(24, 1);
  const [gamma, beta, dy] = [noise(4, 2), noise(4, 3), noise(24, 4)];
  const along = (at: ArrayLike<number>, g: ArrayLike<number>, b: ArrayLike<number>) =>
    reference.groupNorm(at, g, b, shape, EPSILON).y.reduce((sum, v, i) => sum + v * dy[i], 0);
  const gradient = reference.groupNormBackprop(x, gamma, beta, dy, shape, EPSILON);
  const { finiteDifferences } = reference;
  assertClose(
    gradient.dx,
    finiteDifferences((at) => along(at, gamma, beta), x),
    1e-7,
    "dx",
  );
  assertClose(
    gradient.dgamma,
    finiteDifferences((at) => along(x, at, beta), gamma),
    1e-7,
    "dgamma",
  );
  assertClose(
    gradient.dbeta,
    finiteDifferences((at) => along(x, gamma, at), beta),
    1e-7,
    "dbeta",
  );
});

for (const build of BUILDS)
  describe(`GroupNorm, ${build}`, async () => {
    const lab = await openLab(build);
    for (const shape of CASES)
      test(`[batch, positions, channels, groups] = ${shape}: forward and gradients`, () => {
        const [batch, positions, channels, groups] = shape;
        const size = batch * positions * channels;
        // Far from 0, where a variance by sum of squares would lose its digits.
        const x = noise(size, 1).map((v) => v + 30);
        const [gamma, beta, dy] = [noise(channels, 2), noise(channels, 3), noise(size, 4)];
        const expected = reference.groupNorm(x, gamma, beta, shape, EPSILON);
        const [inX, inGamma, inBeta] = [lab.put(x), lab.put(gamma), lab.put(beta)];
        const [mean, inverse] = [lab.room(batch * groups), lab.room(batch * groups)];
        for (const relu of [1, 0]) {
          const y = lab.room(size);
          const squares = lab.kernels.groupNorm(
            inX.address,
            inGamma.address,
            inBeta.address,
            y.address,
            mean.address,
            inverse.address,
            ...shape,
            EPSILON,
            relu,
            relu,
          );
          const values = relu ? reference.relu(expected.y) : expected.y;
          assertClose(y.read(), values, 1e-5, `y, ReLU ${relu}`);
          const expectedSquares = relu ? reference.squaredNorm(values) : 0;
          assert.ok(Math.abs(squares - expectedSquares) <= 2e-5 * expectedSquares);
        }
        assertClose(mean.read(), expected.mean, 1e-6, "mean");
        assertClose(inverse.read(), expected.inverseDeviation, 1e-5, "inverse deviation");

        const [dx, dgamma, dbeta] = [lab.room(size), lab.room(channels), lab.room(channels)];
        lab.kernels.groupNormBackprop(
          inX.address,
          inGamma.address,
          mean.address,
          inverse.address,
          lab.put(dy).address,
          dx.address,
          dgamma.address,
          dbeta.address,
          ...shape,
        );
        const gradient = reference.groupNormBackprop(x, gamma, beta, dy, shape, EPSILON);
        assertClose(dx.read(), gradient.dx, 2e-5, "dx");
        assertClose(dgamma.read(), gradient.dgamma, 2e-5, "dgamma");
        assertClose(dbeta.read(), gradient.dbeta, 1e-6, "dbeta");
        lab.close();
      });
  });
