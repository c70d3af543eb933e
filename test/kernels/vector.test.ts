import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { assertClose, BUILDS, noise, openLab } from "./fixtures.js";
import * as reference from "./reference.js";

const SIZES = Array.from({ length: 68 }, (_, size) => size);
const TOLERANCE = 5e-7;

for (const build of BUILDS)
  describe(`vectors, ${build}`, async () => {
    const lab = await openLab(build);
    const { kernels } = lab;

    /** Runs a test for every size from 0 to 67, with three vectors of that size and an output. */
    const eachSize = (
      name: string,
      check: (size: number, a: Float32Array, b: Float32Array, c: Float32Array) => void,
    ) =>
      test(name, () => {
        for (const size of SIZES) {
          check(size, noise(size, 1), noise(size, 2), noise(size, 3));
          lab.close();
        }
      });

    eachSize("axpy, multiply", (size, a, b) => {
      const [x, y] = [lab.put(a), lab.put(b)];
      kernels.axpy(y.address, x.address, size, -1.5);
      assertClose(
        y.read(),
        b.map((v, i) => v - 1.5 * a[i]),
        TOLERANCE,
        "axpy",
      );
      const product = lab.room(size);
      kernels.multiply(product.address, x.address, lab.put(b).address, size);
      assertClose(
        product.read(),
        a.map((v, i) => v * b[i]),
        TOLERANCE,
        "multiply",
      );
    });

    eachSize("squaredNorm", (size, a) => {
      const x = lab.put(a);
      assertClose(
        [kernels.squaredNorm(x.address, size)],
        [reference.squaredNorm(a)],
        1e-14,
        "squaredNorm",
      );
    });

    eachSize("relu, in place and with its norm", (size, a) => {
      const [x, y] = [lab.put(a), lab.room(size)];
      const expected = reference.relu(a);
      assertClose(
        [kernels.relu(x.address, y.address, size, 1)],
        [reference.squaredNorm(expected)],
        TOLERANCE,
        "norm",
      );
      assertClose(y.read(), expected, 0, "relu");
      assert.equal(kernels.relu(x.address, x.address, size, 0), 0);
      assertClose(x.read(), expected, 0, "in place");
    });

    eachSize("reluBackprop, alone and with the sum of its rows", (size, a, dy) => {
      const coefficient = 0.3;
      const expected = Float64Array.from(a, (v, i) => (v > 0 ? dy[i] + coefficient * v : 0));
      const [inA, inDy, dz] = [lab.put(a), lab.put(dy), lab.room(size)];
      kernels.reluBackprop(inA.address, inDy.address, dz.address, size, coefficient);
      assertClose(dz.read(), expected, TOLERANCE, "dz");
      kernels.reluBackprop(inA.address, inDy.address, inDy.address, size, coefficient);
      assert.deepEqual(inDy.read(), dz.read(), "in place");
      for (const rows of [1, 2, 3, 7].filter((count) => size % count === 0)) {
        const columns = size / rows;
        const [rowsDz, dbias] = [lab.room(size), lab.room(columns)];
        kernels.reluBackpropSumRows(
          inA.address,
          lab.put(dy).address,
          rowsDz.address,
          dbias.address,
          rows,
          columns,
          coefficient,
        );
        assertClose(rowsDz.read(), expected, TOLERANCE, "dz by rows");
        assertClose(dbias.read(), sumOfRows(expected, rows, columns), TOLERANCE, "dbias");
      }
    });

    test("sumRows and reluBackpropSumRows over many rows", () => {
      for (const [rows, columns] of [
        [0, 5],
        [1, 4],
        [63, 7],
        [64, 8],
        [65, 13],
        [1000, 67],
      ]) {
        const x = noise(rows * columns, 1);
        const expected = sumOfRows(x, rows, columns);
        const inX = lab.put(x);
        const [out, dbias] = [lab.room(columns), lab.room(columns)];
        kernels.sumRows(inX.address, out.address, rows, columns);
        assertClose(out.read(), expected, 1e-6, `${rows} x ${columns}`);
        const ones = lab.put(new Float32Array(x.length).fill(1));
        kernels.reluBackpropSumRows(
          ones.address,
          inX.address,
          lab.room(x.length).address,
          dbias.address,
          rows,
          columns,
          0,
        );
        assertClose(dbias.read(), expected, 1e-5, `${rows} x ${columns}`);
        lab.close();
      }
    });

    test("unsortedSegmentSum, with ids that belong to no segment", () => {
      for (const [rows, columns, segments] of [
        [0, 3, 2],
        [9, 1, 4],
        [20, 7, 3],
        [67, 12, 5],
      ]) {
        const x = noise(rows * columns, 1);
        const ids = Int32Array.from({ length: rows }, (_, row) => ((row * 5) % (segments + 2)) - 1);
        const out = lab.room(segments * columns);
        kernels.unsortedSegmentSum(
          lab.put(x).address,
          lab.put(ids).address,
          out.address,
          rows,
          columns,
          segments,
        );
        const expected = new Float64Array(segments * columns);
        x.forEach((v, i) => {
          const id = ids[Math.floor(i / columns)];
          if (id >= 0 && id < segments) expected[id * columns + (i % columns)] += v;
        });
        assertClose(out.read(), expected, 1e-6, `${rows} x ${columns}`);
        lab.close();
      }
    });

    test("sums over ten million elements keep six digits", () => {
      const size = 10_000_000;
      const x = noise(size, 1);
      // Not around 0: there the error would hide in the scale.
      for (let i = 0; i < size; i++) x[i] = x[i] * 0.5 + 0.7;
      let [sum, squares, kept] = [0, 0, 0];
      for (const v of x) {
        sum += v;
        squares += v * v;
        if (v > 0) kept += v * v;
      }
      const inX = lab.put(x);
      const within = (actual: number, expected: number, what: string) =>
        assert.ok(Math.abs(actual / expected - 1) < 1e-6, what);
      within(kernels.squaredNorm(inX.address, size), squares, "squaredNorm");
      within(kernels.stepSquaredNorm(inX.address, inX.address, 0, 0, size, 0), squares, "step");
      const one = lab.room(1);
      kernels.sumRows(inX.address, one.address, size, 1);
      within(one.read()[0], sum, "sumRows of one column");
      const four = lab.room(4);
      kernels.sumRows(inX.address, four.address, size / 4, 4);
      within(
        four.read().reduce((total, v) => total + v),
        sum,
        "sumRows of four columns",
      );
      within(kernels.relu(inX.address, inX.address, size, 1), kept, "relu's norm");
      lab.close();
    });
  });

function sumOfRows(x: ArrayLike<number>, rows: number, columns: number): Float64Array {
  const sums = new Float64Array(columns);
  for (let i = 0; i < rows * columns; i++) sums[i % columns] += x[i];
  return sums;
}
