import { describe, test } from "node:test";
import { assertClose, BUILDS, noise, openLab } from "./fixtures.js";

/** rows, columns */
const CASES: readonly (readonly [number, number])[] = [
  [1, 1],
  [3, 4],
  [7, 13],
  [130, 20],
  [65, 3],
];

for (const build of BUILDS)
  describe(`the columns of batchNorm, ${build}`, async () => {
    const lab = await openLab(build);
    for (const [rows, columns] of CASES)
      test(`[rows, columns] = ${rows}, ${columns}: scaled, their gradient, and their products`, () => {
        const size = rows * columns;
        const x = noise(size, 1).map((value) => value + 30);
        const dy = noise(size, 2);
        const [scale, shift, tilt] = [noise(columns, 3), noise(columns, 4), noise(columns, 5)];
        const center = noise(columns, 6).map((value) => value + 30);
        const [inX, inDy] = [lab.put(x), lab.put(dy)];
        const vectors = [center, scale, shift, tilt].map((values) => lab.put(values).address);
        const [atCenter, atScale, atShift, atTilt] = vectors;
        const column = (i: number) => i % columns;

        const y = lab.room(size);
        for (const relu of [1, 0]) {
          lab.kernels.scaleColumns(
            ...([inX.address, atCenter, atScale, atShift, y.address, rows, columns] as const),
            relu,
          );
          const expected = x.map((value, i) => {
            const c = column(i);
            const z = scale[c] * (value - center[c]) + shift[c];
            return relu === 1 ? Math.max(z, 0) : z;
          });
          assertClose(y.read(), expected, 1e-5, `y, relu ${relu}`);
        }

        const dx = lab.room(size);
        lab.kernels.scaleColumnsBackprop(
          ...([inDy.address, atScale, inX.address, atCenter, atTilt, atShift] as const),
          ...([dx.address, rows, columns] as const),
        );
        const expected = dy.map((value, i) => {
          const c = column(i);
          return scale[c] * value + tilt[c] * (x[i] - center[c]) + shift[c];
        });
        assertClose(dx.read(), expected, 1e-5, "dx");

        const sums = lab.room(columns);
        for (const other of [dy, undefined]) {
          const at = other === undefined ? 0 : inDy.address;
          lab.kernels.sumColumnProducts(inX.address, atCenter, at, sums.address, rows, columns);
          const products = new Float64Array(columns);
          x.forEach((value, i) => {
            const d = value - center[column(i)];
            products[column(i)] += d * (other?.[i] ?? d);
          });
          assertClose(sums.read(), products, 1e-5, "products");
        }
        lab.close();
      });
  });
