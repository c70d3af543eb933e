import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { BUILDS, noise, openLab } from "./fixtures.js";

const GRID = 2 ** -40;
const C = 1.5 * 2 ** 52 * GRID;

/** The term that a fold adds, by the definition: JavaScript's numbers are float64. */
const term = (x: number, weight: number) => weight * x + C - C;

/** A float16 bit pattern as a number, by IEEE 754. */
function half(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent === 0
    ? sign * fraction * 2 ** -24
    : sign * (1024 + fraction) * 2 ** (exponent - 25);
}

for (const build of BUILDS)
  describe(`fold, ${build}`, async () => {
    const lab = await openLab(build);
    const { kernels } = lab;

    test("float32, sizes 0 to 67: exactly the terms of the definition", () => {
      for (let size = 0; size <= 67; size++) {
        const x = noise(size, size);
        const sum = lab.put(new Float64Array(size));
        const inX = lab.put(x);
        kernels.foldFloat32(sum.address, inX.address, size, 50, C);
        kernels.foldFloat32(sum.address, inX.address, size, 7, C);
        assert.deepEqual(
          sum.read(),
          Float64Array.from(x, (v) => term(v, 50) + term(v, 7)),
        );
        lab.close();
      }
    });

    test("a fold's bits do not depend on the order of the updates", () => {
      const size = 33;
      const updates = Array.from({ length: 20 }, (_, seed) => ({
        x: noise(size, seed),
        weight: 1 + ((seed * 37) % 50),
      }));
      const fold = (order: typeof updates) => {
        const sum = lab.put(new Float64Array(size));
        for (const { x, weight } of order)
          kernels.foldFloat32(sum.address, lab.put(x).address, size, weight, C);
        const result = sum.read();
        lab.close();
        return result;
      };
      assert.deepEqual(fold(updates), fold([...updates].reverse()));
    });

    test("float16: every finite bit pattern", () => {
      const bits = Uint16Array.from({ length: 65536 }, (_, i) => i).filter(
        (pattern) => (pattern & 0x7c00) !== 0x7c00,
      );
      const sum = lab.put(new Float64Array(bits.length));
      kernels.foldFloat16(sum.address, lab.put(bits).address, bits.length, 1, C);
      assert.deepEqual(
        sum.read(),
        Float64Array.from(bits, (pattern) => term(half(pattern), 1)),
      );
      lab.close();
      for (let size = 0; size <= 67; size++) {
        const some = bits.slice(15000, 15000 + size);
        const total = lab.put(new Float64Array(size));
        kernels.foldFloat16(total.address, lab.put(some).address, size, 3, C);
        assert.deepEqual(
          total.read(),
          Float64Array.from(some, (pattern) => term(half(pattern), 3)),
        );
        lab.close();
      }
    });

    test("int8, sizes 0 to 67", () => {
      for (let size = 0; size <= 67; size++) {
        const x = Int8Array.from({ length: size }, (_, i) => i * 37);
        const sum = lab.put(new Float64Array(size));
        kernels.foldInt8(sum.address, lab.put(x).address, size, 0.01, C);
        assert.deepEqual(
          sum.read(),
          Float64Array.from(x, (v) => term(v, 0.01)),
        );
        lab.close();
      }
    });

    test("checkRange counts what is too large, infinite or NaN, in every lane and in the tail", () => {
      for (let size = 1; size <= 67; size++) {
        for (const bad of [NaN, Infinity, -Infinity, 2.0000002, -3]) {
          const x = noise(size, size).map((v) => 2 * v);
          x[size >> 1] = 2;
          assert.equal(kernels.checkRange(lab.put(x).address, size, 2), 0);
          x[size - 1] = bad;
          x[(size * 3) >> 2] = bad;
          const count = size - 1 === (size * 3) >> 2 ? 1 : 2;
          assert.equal(kernels.checkRange(lab.put(x).address, size, 2), count);
        }
        lab.close();
      }
      assert.equal(kernels.checkRange(0, 0, 1), 0);
    });

    test("checkRangeFloat16: every bit pattern", () => {
      const bits = Uint16Array.from({ length: 65536 }, (_, i) => i);
      for (const maxAbs of [0, 0.5, 65504, 1e6])
        assert.equal(
          kernels.checkRangeFloat16(lab.put(bits).address, bits.length, maxAbs),
          bits.filter((pattern) => !(Math.abs(half(pattern)) <= maxAbs)).length,
        );
      lab.close();
    });
  });
