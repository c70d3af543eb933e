import assert from "node:assert/strict";
import { test } from "node:test";
import { lanczos, tridiagonalEigen } from "../../runtime/flatness/lanczos.js";
import { trace } from "../../runtime/flatness/trace.js";
import { random } from "../../runtime/tensors/random.js";

const near = (got: number, expected: number, tolerance: number) =>
  assert.ok(Math.abs(got - expected) <= tolerance, `expected ${expected}, got ${got}`);

/**
 * Q diag(values) Q' with Q a product of random Householder reflections: a matrix whose spectrum is
 * known.
 */
function withSpectrum(values: readonly number[]) {
  const n = values.length;
  const chance = random("spectrum", n);
  const reflections = Array.from({ length: 3 }, () => {
    const u = Array.from({ length: n }, () => chance.normal());
    const norm = Math.hypot(...u);
    return u.map((x) => x / norm);
  });
  const reflect = (v: number[], u: number[]) => {
    const s = 2 * v.reduce((sum, x, i) => sum + x * u[i], 0);
    return v.map((x, i) => x - s * u[i]);
  };
  return async (v: Float64Array) => {
    let x = reflections.reduce(reflect, [...v]);
    x = x.map((value, i) => value * values[i]);
    return Float64Array.from(reflections.reduceRight(reflect, x));
  };
}

test("tridiagonal matrices of sizes 1 to 40 have the eigenvalues of the discrete Laplacian", () => {
  for (let n = 1; n <= 40; n++) {
    const { values, last } = tridiagonalEigen(
      Array.from({ length: n }, () => 2),
      Array.from({ length: n - 1 }, () => -1),
    );
    const sorted = values.map((value, i) => ({ value, last: last[i] }));
    sorted.sort((a, b) => a.value - b.value);
    for (let k = 1; k <= n; k++) {
      const angle = (k * Math.PI) / (n + 1);
      near(sorted[k - 1].value, 2 - 2 * Math.cos(angle), 1e-12);
      const component = Math.sqrt(2 / (n + 1)) * Math.sin(n * angle);
      near(Math.abs(sorted[k - 1].last), Math.abs(component), 1e-10);
    }
  }
});

test("finds the largest algebraic eigenvalues, not the largest in size", async () => {
  const values = [-50, 9, 8.5, 3, ...Array.from({ length: 96 }, (_, i) => Math.sin(i))];
  const found = await lanczos(withSpectrum(values), 100, {
    count: 3,
    seed: 1,
    tolerance: 1e-8,
  });
  [9, 8.5, 3].forEach((value, i) => near(found.values[i], value, 1e-6));
});

test("a matrix smaller than the number of values asked, and the zero matrix", async () => {
  const two = await lanczos(withSpectrum([4, -1]), 2, { count: 5, seed: 1 });
  assert.equal(two.values.length, 2);
  near(two.values[0], 4, 1e-9);
  const zero = await lanczos(async (v) => v.map(() => 0), 7, {
    count: 1,
    seed: 1,
  });
  assert.deepEqual(zero.values, [0]);
});

test("the trace is exact by unit vectors, and estimated within three standard errors", async () => {
  const values = Array.from({ length: 60 }, (_, i) => Math.cos(i) * (i + 1));
  const sum = values.reduce((a, b) => a + b);
  const product = withSpectrum(values);
  const exact = await trace(product, 60, { probes: 0, seed: 1 });
  near(exact.value, sum, 1e-9);
  assert.equal(exact.standardError, 0);
  const estimated = await trace(product, 60, {
    probes: 200,
    seed: 1,
    estimate: true,
  });
  assert.ok(estimated.standardError > 0);
  near(estimated.value, sum, 3 * estimated.standardError);
});
