import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ACCUMULATE, NORM, RELU, TRANSPOSE_A, TRANSPOSE_B } from "../../runtime/wasm/kernels.js";
import { assertClose, BUILDS, noise, openLab } from "./fixtures.js";
import * as reference from "./reference.js";

const SIZES: readonly (readonly [number, number, number])[] = [
  [0, 3, 4],
  [3, 0, 4],
  [3, 4, 0],
  [1, 1, 1],
  [2, 3, 5],
  [5, 8, 4],
  [6, 9, 7],
  [7, 10, 33],
  [9, 12, 3],
  [13, 13, 13],
  [32, 6, 100],
  // A much smaller than B, as in a dense layer's gradient by its input.
  [4, 67, 66],
  [8, 250, 260],
  [67, 67, 67],
  [241, 5, 9],
  [33, 20, 300],
  [11, 270, 259],
  [245, 264, 513],
];

for (const build of BUILDS)
  describe(`gemm, ${build}`, async () => {
    const lab = await openLab(build);
    for (const transposeA of [0, 1])
      for (const transposeB of [0, 1])
        test(`transposes ${transposeA} ${transposeB}: sizes, row strides, bias, ReLU, accumulation, norm`, () => {
          for (const [index, [m, n, k]] of SIZES.entries()) {
            // Every other size is a part of wider matrices.
            const wider = index % 2 ? 3 : 0;
            const lda = (transposeA ? m : k) + wider;
            const ldb = (transposeB ? k : n) + wider;
            const ldc = n + wider;
            const a = noise((transposeA ? k : m) * lda, 1);
            const b = noise((transposeB ? n : k) * ldb, 2);
            const before = noise(m * ldc, 3);
            const bias = noise(n, 4);
            const product = reference.gemm(transposeA, transposeB, m, n, k, a, lda, b, ldb);
            const inA = lab.put(a);
            const inB = lab.put(b);
            const inBias = lab.put(bias);
            for (let variant = 0; variant < 16; variant++) {
              const [accumulate, withBias, relu, norm] = [1, 2, 4, 8].map((bit) =>
                variant & bit ? 1 : 0,
              );
              const how =
                transposeA * TRANSPOSE_A +
                transposeB * TRANSPOSE_B +
                accumulate * ACCUMULATE +
                relu * RELU +
                norm * NORM;
              const c = lab.put(before);
              const run = () =>
                lab.kernels.gemm(
                  how,
                  m,
                  n,
                  k,
                  inA.address,
                  lda,
                  inB.address,
                  ldb,
                  c.address,
                  ldc,
                  withBias ? inBias.address : 0,
                  lab.scratch,
                );
              const squares = run();
              const expected = Float64Array.from(before);
              let expectedSquares = 0;
              for (let i = 0; i < m; i++)
                for (let j = 0; j < n; j++) {
                  let x = product[i * n + j];
                  if (accumulate) x += before[i * ldc + j];
                  if (withBias) x += bias[j];
                  if (relu) x = Math.max(x, 0);
                  if (norm) expectedSquares += x * x;
                  expected[i * ldc + j] = x;
                }
              const what = `${m} x ${n} x ${k}, variant ${variant}`;
              const first = c.read();
              assertClose(first, expected, 1e-6, what);
              assertClose(
                [squares / (m * n || 1)],
                [expectedSquares / (m * n || 1)],
                1e-6,
                `${what}: norm`,
              );
              if (!accumulate) {
                assert.equal(run(), squares, "the same norm again");
                assert.deepEqual(c.read(), first, "the same bits again");
              }
            }
            lab.close();
          }
        });

    for (const transposeB of [0, 1])
      test(`transposes 0 ${transposeB}: products by a matrix that is held packed`, () => {
        for (const [m, n, k] of SIZES) {
          const ldb = (transposeB ? k : n) + 3;
          const b = noise((transposeB ? n : k) * ldb, 2);
          const [inB, c] = [lab.put(b), lab.room(m * n)];
          const how = transposeB * TRANSPOSE_B;
          const held = lab.kernels.holdRight(how, n, k, inB.address, ldb, lab.scratch);
          assert.notEqual(held, 0, `${n} x ${k} fits`);
          for (const seed of [1, 3]) {
            const a = noise(m * k, seed);
            const inA = lab.put(a);
            lab.kernels.gemm(
              how + held,
              // Only what is held is read.
              ...([m, n, k, inA.address, k, 0, ldb] as const),
              ...([c.address, n, 0, lab.scratch] as const),
            );
            const expected = reference.gemm(0, transposeB, m, n, k, a, k, b, ldb);
            assertClose(c.read(), expected, 1e-6, `${m} x ${n} x ${k}`);
          }
          lab.close();
        }
        assert.equal(lab.kernels.holdRight(0, 4096, 4096, 0, 4096, lab.scratch), 0, "too large");
      });

    test("every size from 1 to 20 in each direction", () => {
      for (let m = 1; m <= 20; m++)
        for (let n = 1; n <= 20; n++) {
          const k = 1 + ((m * 7 + n * 3) % 20);
          const a = noise(m * k, m);
          const b = noise(k * n, n);
          const [inA, inB, c] = [lab.put(a), lab.put(b), lab.room(m * n)];
          lab.kernels.gemm(
            0,
            m,
            n,
            k,
            inA.address,
            k,
            inB.address,
            n,
            c.address,
            n,
            0,
            lab.scratch,
          );
          assertClose(
            c.read(),
            reference.gemm(0, 0, m, n, k, a, k, b, n),
            1e-6,
            `${m} x ${n} x ${k}`,
          );
          lab.close();
        }
    });
  });
