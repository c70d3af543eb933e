import * as v from "valibot";
import { ACCUMULATE, TRANSPOSE_A, TRANSPOSE_B } from "../../wasm/kernels.js";
import { floats, layerKind } from "./layer.js";
import { product, type Matrix } from "./linear.js";
import {
  eachUnit,
  outer,
  outside,
  recurrentFields,
  recurrentLayer,
  row,
  type Form,
  type Pass,
  type Recurrence,
  type TimeStep,
} from "./recurrent.js";

/**
 * LSTM (Hochreiter and Schmidhuber 1997), gates in the order i f c o:
 *   c <- g(f) c + g(i) f(c~);  h <- g(o) f(c);  [i f c~ o] = x W + h U + b.
 * h and c begin at 0. MAN penalises h at all steps.
 */
export const lstm = layerKind({
  schema: v.strictObject({ type: v.literal("lstm"), ...recurrentFields }),
  resolve: (description, [input], complain) => ({
    layer: recurrentLayer(input, description, complain, recurrence),
  }),
});

type Own = "cell" | "dc";
type OwnTangents = "cell" | "dcTangent";

function recurrence(form: Form): Recurrence<Own, OwnTangents> {
  const { length, units, state, gate } = form;
  const width = 4 * units;
  const kinds = [length, units, state.kind, gate.kind] as const;
  /** A step's rows among the gates, and among the states. */
  const gatesAt = (address: number, at: number): Matrix => [
    row(address, at, width),
    length * width,
  ];
  const statesAt = (address: number, at: number): Matrix => [
    row(address, at, units),
    length * units,
  ];
  const cellAt = (address: number, at?: number) => (at === undefined ? 0 : row(address, at, units));
  return {
    blocks: 4,
    holds: true,
    biases: [
      {
        name: "bias",
        shape: [width],
        // The forget gate begins open.
        initial: {
          values: Array.from({ length: width }, (_, i) => (i >= units && i < 2 * units ? 1 : 0)),
        },
      },
    ],
    words: { cell: units * length, dc: units },
    tangentWords: { cell: units * length, dcTangent: units },

    forward({ run, cells, kept: { gates, cell, previous }, held }, step) {
      const { at, before, next } = step;
      const here = gatesAt(gates, at);
      const u: Matrix = [cells.parameters[1], width];
      if (before !== undefined)
        product(run, ACCUMULATE + held, [run.batch, width, units], statesAt(previous, at), u, here);
      run.kernels.lstmStep(
        here[0],
        cellAt(cell, before),
        cellAt(cell, at),
        ...outside(form, cells.y, step),
        cellAt(previous, next),
        run.batch,
        ...kinds,
      );
    },

    backward({ run, cells, kept: { gates, cell, dh, dc }, d, held }, step, penalty) {
      const { at, before, next } = step;
      if (next === undefined) floats(run, dc, run.batch * units).fill(0);
      const here = gatesAt(d, at);
      run.kernels.lstmStepBackprop(
        gatesAt(gates, at)[0],
        cellAt(cell, before),
        cellAt(cell, at),
        ...outside(form, cells.dy, step),
        dh,
        dc,
        here[0],
        run.batch,
        ...kinds,
        penalty,
      );
      const u: Matrix = [cells.parameters[1], width];
      if (before !== undefined)
        product(run, TRANSPOSE_B + held, [run.batch, units, width], here, u, [dh, units]);
    },

    gradients({ run, cells, kept, d }) {
      toKernel(run, 0, kept.previous, d, cells.gradients[1]);
    },

    forwardTangent: (pass, step) => forwardTangent(form, pass, step),
    backwardTangent: (pass, step, penalty) => backwardTangent(form, pass, step, penalty),

    products({ run, cells, kept, along }) {
      toKernel(run, 0, kept.previous, along.dTangent, cells.products[1]);
      toKernel(run, ACCUMULATE, along.previous, along.d, cells.products[1]);
    },
  };

  /** dU [+]= h^T d */
  function toKernel(
    run: Pass<Own, OwnTangents>["run"],
    how: number,
    h: number,
    d: number,
    to: number,
  ): void {
    const size = [units, width, run.batch * length] as const;
    product(run, TRANSPOSE_A + how, size, [h, units], [d, width], [to, width]);
  }
}

/** The tangent of a step, in JavaScript: it is needed for curvature only. */
function forwardTangent(
  form: Form,
  { run, cells, kept, along }: Pass<Own, OwnTangents>,
  step: TimeStep,
): void {
  const { length, units, state, gate } = form;
  const { at, before, next } = step;
  const { batch } = run;
  const width = 4 * units;
  if (before !== undefined)
    for (const [h, kernel] of [
      [along.previous, cells.parameters[1]],
      [kept.previous, cells.directions[1]],
    ])
      product(
        run,
        ACCUMULATE,
        [batch, width, units],
        [row(h, at, units), length * units],
        [kernel, width],
        [row(along.gates, at, width), length * width],
      );
  const view = (address: number, columns: number) => floats(run, address, batch * length * columns);
  const [g, c, a] = [view(kept.gates, width), view(kept.cell, units), view(along.gates, width)];
  const [cTangent, hTangent] = [view(along.cell, units), view(along.previous, units)];
  const out = floats(run, cells.yTangent, batch * (form.sequences ? length : 1) * units);
  eachUnit(form, run, at, width, (p, here, k) => {
    const [i, f, n, o] = [g[p], g[p + units], g[p + 2 * units], g[p + 3 * units]];
    const iT = gate.first(0, i) * a[p];
    const fT = gate.first(0, f) * a[p + units];
    const nT = state.first(0, n) * a[p + 2 * units];
    const oT = gate.first(0, o) * a[p + 3 * units];
    const was = before === undefined ? -1 : here + (before - at) * units;
    const cT = iT * n + i * nT + (was < 0 ? 0 : fT * c[was] + f * cTangent[was]);
    cTangent[here] = cT;
    const value = state.value(c[here]);
    const hT = oT * value + o * state.first(0, value) * cT;
    if (next !== undefined) hTangent[here + (next - at) * units] = hT;
    const place = outer(form, step, here, k);
    if (place >= 0) out[place] = hT;
  });
}

/** The tangent of a step's backward pass, and that pass once more. */
function backwardTangent(
  form: Form,
  { run, cells, kept, along }: Pass<Own, OwnTangents>,
  step: TimeStep,
  penalty: number,
): void {
  const { length, units, state, gate } = form;
  const { at, before, next } = step;
  const { batch } = run;
  const width = 4 * units;
  const view = (address: number, columns: number) => floats(run, address, batch * length * columns);
  const [g, c, a] = [view(kept.gates, width), view(kept.cell, units), view(along.gates, width)];
  const cTangent = view(along.cell, units);
  const dTangent = view(along.dTangent, width);
  const outerSize = batch * (form.sequences ? length : 1) * units;
  const [dys, dysTangent] = [cells.dy, cells.dyTangent].map((at) => floats(run, at, outerSize));
  const carried = (address: number) => floats(run, address, batch * units);
  const [carry, carryTangent] = [carried(kept.dh), carried(along.dhTangent)];
  const [carryCell, carryCellTangent] = [carried(kept.dc), carried(along.dcTangent)];
  if (next === undefined) for (const cells of [carryCell, carryCellTangent]) cells.fill(0);
  eachUnit(form, run, at, width, (p, here, k) => {
    const [i, f, n, o] = [g[p], g[p + units], g[p + 2 * units], g[p + 3 * units]];
    const [aI, aF, aN, aO] = [a[p], a[p + units], a[p + 2 * units], a[p + 3 * units]];
    const iT = gate.first(0, i) * aI;
    const fT = gate.first(0, f) * aF;
    const nT = state.first(0, n) * aN;
    const oT = gate.first(0, o) * aO;
    const cT = cTangent[here];
    const value = state.value(c[here]);
    const slope = state.first(0, value);
    const bend = state.second?.(0, value) ?? 0;
    const was = before === undefined ? -1 : here + (before - at) * units;
    const [cWas, cWasT] = was < 0 ? [0, 0] : [c[was], cTangent[was]];
    const place = outer(form, step, here, k);
    const total = carry[k] + (place < 0 ? 0 : dys[place]) + penalty * o * value;
    const totalT =
      carryTangent[k] +
      (place < 0 ? 0 : dysTangent[place]) +
      penalty * (oT * value + o * slope * cT);
    const inner = total * o * slope + carryCell[k];
    const innerT = totalT * o * slope + total * (oT * slope + o * bend * cT) + carryCellTangent[k];
    dTangent[p] =
      (innerT * n + inner * nT) * gate.first(0, i) + inner * n * (gate.second?.(0, i) ?? 0) * aI;
    dTangent[p + units] =
      (innerT * cWas + inner * cWasT) * gate.first(0, f) +
      inner * cWas * (gate.second?.(0, f) ?? 0) * aF;
    dTangent[p + 2 * units] =
      (innerT * i + inner * iT) * state.first(0, n) + inner * i * (state.second?.(0, n) ?? 0) * aN;
    dTangent[p + 3 * units] =
      (totalT * value + total * slope * cT) * gate.first(0, o) +
      total * value * (gate.second?.(0, o) ?? 0) * aO;
    carryCell[k] = inner * f;
    carryCellTangent[k] = innerT * f + inner * fT;
  });
  if (before === undefined) return;
  const d: Matrix = [row(along.d, at, width), length * width];
  const dT: Matrix = [row(along.dTangent, at, width), length * width];
  const size = [batch, units, width] as const;
  const toTangent: Matrix = [along.dhTangent, units];
  const [u, direction]: Matrix[] = [
    [cells.parameters[1], width],
    [cells.directions[1], width],
  ];
  product(run, TRANSPOSE_B, size, d, u, [kept.dh, units]);
  product(run, TRANSPOSE_B, size, dT, u, toTangent);
  product(run, TRANSPOSE_B + ACCUMULATE, size, d, direction, toTangent);
}
