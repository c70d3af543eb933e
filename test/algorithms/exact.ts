/** Each number as a count of steps of `grid`. Throws where one is no multiple of it. */
export const steps = (vector: Float64Array, grid: number): bigint[] =>
  Array.from(vector, (x) => BigInt(x / grid));

/** The sum of the vectors in steps of `grid`, by integers: exact, whatever its size. */
export const totalSteps = (vectors: readonly Float64Array[], grid: number): bigint[] =>
  vectors
    .map((vector) => steps(vector, grid))
    .reduce((total, vector) => total.map((sum, i) => sum + vector[i]));

/** By algorithm: the server's sums, and of which of the clients' states each is the sum. */
export const SUMS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  feddyn: { driftSum: "drift" },
  fedspeed: { driftSum: "drift" },
  scaffold: { controlSum: "control" },
  memory: { memorySum: "memory" },
  feddc: { driftSum: "drift", controlSum: "scaledControl" },
};
