import { random } from "../tensors/random.js";

/** v -> H v for a symmetric H of which only products are known. */
export type Product = (v: Float64Array) => Promise<Float64Array>;

interface Spectrum {
  /** Largest algebraic eigenvalues, descending. */
  readonly values: readonly number[];
  /** Residual norms ||H u - lambda u|| of the same, from Lanczos' own estimate. */
  readonly residuals: readonly number[];
  /** Products spent. */
  readonly steps: number;
}

/**
 * The `count` largest algebraic eigenvalues of a symmetric matrix by Lanczos' iteration with full
 * re-orthogonalisation (Golub and Van Loan, Matrix Computations, 4th ed., section 10.3), from a
 * seeded random start. It stops once every wanted value has a residual below `tolerance` times the
 * largest eigenvalue in size, or after `maxSteps` products. Memory: one vector of the dimension a
 * step.
 */
export async function lanczos(
  product: Product,
  dimension: number,
  options: {
    readonly count: number;
    readonly seed: string | number;
    readonly tolerance?: number;
    readonly maxSteps?: number;
    readonly onStep?: (step: number, maxSteps: number) => void;
  },
): Promise<Spectrum> {
  const { count, seed, tolerance = 1e-4, onStep } = options;
  const maxSteps = Math.min(dimension, options.maxSteps ?? 100);
  const chance = random(seed, "lanczos");
  const basis: Float64Array[] = [];
  const diagonal: number[] = [];
  const offDiagonal: number[] = [];
  let next = unit(new Float64Array(dimension).map(() => chance.normal()));
  let spectrum: Spectrum = { values: [], residuals: [], steps: 0 };
  for (let step = 1; step <= maxSteps; step++) {
    basis.push(next);
    const w = await product(next);
    diagonal.push(dot(w, next));
    // Twice is enough (Parlett), because rounding would otherwise let copies of found eigenvalues
    // back in.
    for (let pass = 0; pass < 2; pass++) for (const q of basis) subtract(w, q, dot(w, q));
    const beta = Math.sqrt(dot(w, w));
    onStep?.(step, maxSteps);
    const { values, last } = tridiagonalEigen(diagonal, offDiagonal);
    const order = values
      .map((_, i) => i)
      .sort((a, b) => values[b] - values[a])
      .slice(0, count);
    const size = Math.max(...values.map(Math.abs), Number.MIN_VALUE);
    spectrum = {
      values: order.map((i) => values[i]),
      residuals: order.map((i) => Math.abs(beta * last[i])),
      steps: step,
    };
    const converged =
      order.length === Math.min(count, dimension) &&
      spectrum.residuals.every((residual) => residual <= tolerance * size);
    if (converged || beta <= 1e-12 * size) break;
    offDiagonal.push(beta);
    next = w.map((value) => value / beta);
  }
  return spectrum;
}

/**
 * Eigenvalues of a symmetric tridiagonal matrix, and the last component of each unit eigenvector,
 * by the implicit QL algorithm with Wilkinson's shift (Golub and Van Loan, section 8.3).
 */
export function tridiagonalEigen(
  diagonal: readonly number[],
  offDiagonal: readonly number[],
): { values: number[]; last: number[] } {
  const n = diagonal.length;
  const d = [...diagonal];
  const e = [...offDiagonal.slice(0, n - 1), 0];
  // The last row of the product of all rotations: the last components of the eigenvectors.
  const last: number[] = d.map((_, i) => (i === n - 1 ? 1 : 0));
  for (let low = 0; low < n; low++)
    for (let sweep = 0; sweep < 100; sweep++) {
      let high = low;
      while (
        high < n - 1 &&
        Math.abs(e[high]) > Number.EPSILON * (Math.abs(d[high]) + Math.abs(d[high + 1]))
      )
        high++;
      if (high === low) break;
      let g = (d[low + 1] - d[low]) / (2 * e[low]);
      const r = Math.hypot(g, 1);
      g = d[high] - d[low] + e[low] / (g + (g >= 0 ? r : -r));
      let s = 1;
      let c = 1;
      let p = 0;
      for (let i = high - 1; i >= low; i--) {
        const f = s * e[i];
        const b = c * e[i];
        const h = Math.hypot(f, g);
        e[i + 1] = h;
        if (h === 0) {
          d[i + 1] -= p;
          break;
        }
        s = f / h;
        c = g / h;
        g = d[i + 1] - p;
        const t = (d[i] - g) * s + 2 * c * b;
        p = s * t;
        d[i + 1] = g + p;
        g = c * t - b;
        const kept = last[i + 1];
        last[i + 1] = s * last[i] + c * kept;
        last[i] = c * last[i] - s * kept;
      }
      if (e[high] === 0 && high - 1 > low) continue;
      d[low] -= p;
      e[low] = g;
      e[high] = 0;
    }
  return { values: d, last };
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

function subtract(a: Float64Array, b: Float64Array, factor: number): void {
  for (let i = 0; i < a.length; i++) a[i] -= factor * b[i];
}

function unit(v: Float64Array): Float64Array {
  const norm = Math.sqrt(dot(v, v));
  return v.map((value) => value / norm);
}
