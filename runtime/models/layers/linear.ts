import { ACCUMULATE, NORM, RELU, TRANSPOSE_A, TRANSPOSE_B } from "../../wasm/kernels.js";
import type { Cells, Layer, Run } from "./layer.js";

// Matrix products on addresses, and the passes of every map that is linear both in its input and in
// its kernel.

/** A matrix in memory: its address, and the floats from row to row. */
export type Matrix = readonly [address: number, stride: number];

/** c [+]= a b [+ bias], a: [m, k], b: [k, n]; `how` and what it returns as gemm's. */
export const product = (
  { kernels, scratch }: Run,
  how: number,
  [m, n, k]: readonly [number, number, number],
  [a, lda]: Matrix,
  [b, ldb]: Matrix,
  [c, ldc]: Matrix,
  bias = 0,
): number => kernels.gemm(how, m, n, k, a, lda, b, ldb, c, ldc, bias, scratch);

/** y = M(x, w), and what follows from it; with `how` `ACCUMULATE` the result is added to what is there. */
export interface Bilinear {
  apply(run: Run, cells: Cells, how: number, x: number, w: number, y: number, bias: number): number;
  toInput(run: Run, cells: Cells, how: number, dy: number, w: number, dx: number): void;
  toKernel(run: Run, cells: Cells, how: number, x: number, dy: number, dw: number): void;
}

/**
 * The passes of the layer M(x, kernel) + bias that follow from the map; the plan sums up the bias'
 * gradient. The tangent passes take `adding`, a map that can add, where M cannot.
 */
export const bilinearPasses = ({
  adding,
  ...map
}: Bilinear & { readonly adding?: Bilinear }): Pick<
  Layer,
  "forward" | "backward" | "forwardTangent" | "backwardTangent"
> => ({
  forward(run, cells, relu, norm) {
    const { x, y, parameters } = cells;
    const how = (relu ? RELU : 0) + (norm ? NORM : 0);
    return map.apply(run, cells, how, x, parameters[0], y, parameters[1]);
  },
  backward(run, cells) {
    const { x, dy, dx, parameters, gradients } = cells;
    if (gradients[0] !== 0) map.toKernel(run, cells, 0, x, dy, gradients[0]);
    if (dx !== 0) map.toInput(run, cells, 0, dy, parameters[0], dx);
  },
  forwardTangent(run, cells) {
    const { apply } = adding ?? map;
    const { x, xTangent, yTangent, parameters, directions } = cells;
    apply(run, cells, 0, x, directions[0], yTangent, directions[1]);
    if (xTangent !== 0) apply(run, cells, ACCUMULATE, xTangent, parameters[0], yTangent, 0);
  },
  backwardTangent(run, cells) {
    const { toInput, toKernel } = adding ?? map;
    const { x, xTangent, dy, dyTangent, dxTangent } = cells;
    const { parameters, directions, products } = cells;
    toKernel(run, cells, 0, x, dyTangent, products[0]);
    if (xTangent !== 0) toKernel(run, cells, ACCUMULATE, xTangent, dy, products[0]);
    if (dxTangent === 0) return;
    toInput(run, cells, 0, dyTangent, parameters[0], dxTangent);
    toInput(run, cells, ACCUMULATE, dy, directions[0], dxTangent);
  },
});

/** x W + b on each of an example's `positions` rows, x: [.., features], W: [features, units]. */
export function matrixMap(positions: number, features: number, units: number): Bilinear {
  return {
    apply: (run, _cells, how, x, w, y, bias) =>
      product(
        run,
        how,
        [run.batch * positions, units, features],
        [x, features],
        [w, units],
        [y, units],
        bias,
      ),
    toInput: (run, _cells, how, dy, w, dx) =>
      void product(
        run,
        TRANSPOSE_B + how,
        [run.batch * positions, features, units],
        [dy, units],
        [w, units],
        [dx, features],
      ),
    toKernel: (run, _cells, how, x, dy, dw) =>
      void product(
        run,
        TRANSPOSE_A + how,
        [features, units, run.batch * positions],
        [x, features],
        [dy, units],
        [dw, units],
      ),
  };
}

/** The four passes of a part of a layer, without an activation. */
type Passes = Readonly<
  Record<
    "forward" | "backward" | "forwardTangent" | "backwardTangent",
    (run: Run, cells: Cells) => void
  >
>;

/**
 * x W + b as a part of a larger layer: W and b, and their gradients, are those at two places among
 * that layer's parameters.
 */
export function matrixWithin(
  positions: number,
  features: number,
  units: number,
  [kernel, bias]: readonly [number, number],
): Passes {
  const sumRows = ({ kernels, batch }: Run, dy: number, to: number) => {
    if (to !== 0) kernels.sumRows(dy, to, batch * positions, units);
  };
  const passes = bilinearPasses(matrixMap(positions, features, units));
  const own = (cells: Cells): Cells => {
    const pick = (all: readonly number[]) => [all[kernel], all[bias]];
    const { parameters, gradients, directions, products } = cells;
    return {
      ...cells,
      parameters: pick(parameters),
      gradients: pick(gradients),
      directions: pick(directions),
      products: pick(products),
    };
  };
  return {
    forward: (run, cells) => void passes.forward(run, own(cells), false, false),
    backward(run, cells) {
      passes.backward(run, own(cells), 0);
      sumRows(run, cells.dy, cells.gradients[bias]);
    },
    forwardTangent: (run, cells) => passes.forwardTangent(run, own(cells)),
    backwardTangent(run, cells) {
      passes.backwardTangent(run, own(cells), 0);
      sumRows(run, cells.dyTangent, cells.products[bias]);
    },
  };
}
