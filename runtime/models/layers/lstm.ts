import * as v from "valibot";
import { ACCUMULATE, TRANSPOSE_A, TRANSPOSE_B } from "../../wasm/kernels.js";
import { elements } from "../../tensors/shape.js";
import { activationNamed, type Activation } from "./activations.js";
import { floats, layerKind, type Cells, type Layer, type Run } from "./layer.js";
import { product, recurrentFields, regions, sequenceOf, stepsOf, wordsOf } from "./recurrent.js";

/**
 * LSTM (Hochreiter and Schmidhuber 1997), gates in the order i f c o:
 *   c <- g(f) c + g(i) f(c~);  h <- g(o) f(c);  [i f c~ o] = x W + h U + b.
 * h and c begin at 0. MAN penalises h at all steps.
 */
export const lstm = layerKind({
  schema: v.strictObject({ type: v.literal("lstm"), ...recurrentFields }),
  takesActivation: false,
  resolve(description, [input], complain) {
    const { units, returnSequences = false, reverse = false } = description;
    const { activation = "tanh", recurrentActivation = "sigmoid" } = description;
    return {
      layer: lstmLayer(sequenceOf(input, complain), units, returnSequences, reverse, {
        state: activationNamed(activation),
        gate: activationNamed(recurrentActivation),
      }),
    };
  },
});

function lstmLayer(
  [length, channels]: readonly [number, number],
  units: number,
  returnSequences: boolean,
  reverse: boolean,
  { state, gate }: { readonly state: Activation; readonly gate: Activation },
): Layer {
  const steps = stepsOf(length, reverse);
  const last = steps[length - 1];
  const width = 4 * units;
  const words = {
    gates: width * length,
    cell: units * length,
    previous: units * length,
    dh: units,
    dc: units,
  };
  const tangentWords = {
    d: width * length,
    /** Tangents of the gates before their activation, of c, of h one step before, and of d. */
    gates: width * length,
    cell: units * length,
    previous: units * length,
    dTangent: width * length,
    dhTangent: units,
  };
  const kept = ({ batch }: Run, { memory }: Cells) => regions(memory, batch, words);
  const tangents = ({ batch }: Run, { tangentMemory }: Cells) =>
    regions(tangentMemory, batch, tangentWords);
  const row = (address: number, at: number, columns: number) => address + 4 * at * columns;
  /** Where h of a step goes, and dy comes from: 0 where only the last one is given out. */
  const outside = (address: number, at: number) =>
    returnSequences ? row(address, at, units) : at === last.at ? address : 0;
  const outerSteps = returnSequences ? length : 1;
  const initial = { fanIn: units };
  return {
    input: [length, channels],
    output: returnSequences ? [length, units] : [units],
    parameters: [
      { name: "kernel", shape: [channels, width], initial },
      { name: "recurrentKernel", shape: [units, width], initial },
      {
        name: "bias",
        shape: [width],
        // The forget gate begins open.
        initial: {
          values: Array.from({ length: width }, (_, i) => (i >= units && i < 2 * units ? 1 : 0)),
        },
      },
    ],
    remembers: wordsOf(words),
    remembersTangents: wordsOf(tangentWords),
    stateElements: length * units,

    forward(run, cells, _relu, norm) {
      const { kernels, batch } = run;
      const { x, y, parameters } = cells;
      const [w, u, bias] = parameters;
      const { gates, cell, previous } = kept(run, cells);
      product(
        run,
        0,
        [batch * length, width, channels],
        [x, channels],
        [w, width],
        [gates, width],
        bias,
      );
      const first = floats(run, previous, batch * length * units);
      for (let b = 0; b < batch; b++)
        first.fill(0, (b * length + steps[0].at) * units, (b * length + steps[0].at + 1) * units);
      for (const { at, before, next } of steps) {
        const here = row(gates, at, width);
        if (before !== undefined)
          product(
            run,
            ACCUMULATE,
            [batch, width, units],
            [row(previous, at, units), length * units],
            [u, width],
            [here, length * width],
          );
        kernels.lstmStep(
          here,
          before === undefined ? 0 : row(cell, before, units),
          row(cell, at, units),
          outside(y, at),
          outerSteps,
          next === undefined ? 0 : row(previous, next, units),
          ...([batch, length, units, state.kind, gate.kind] as const),
        );
      }
      if (!norm) return 0;
      const size = batch * elements(returnSequences ? [length, units] : [units]);
      const rest = returnSequences ? 0 : kernels.squaredNorm(previous, batch * length * units);
      return rest + kernels.squaredNorm(y, size);
    },

    backward(run, cells, penalty) {
      const { kernels, batch } = run;
      const { x, dx, dy, parameters, gradients } = cells;
      const [w, u] = parameters;
      const { gates, cell, previous, dh, dc } = kept(run, cells);
      const d = cells.tangentMemory === 0 ? gates : tangents(run, cells).d;
      floats(run, dh, 2 * batch * units).fill(0);
      for (const { at, before } of steps.toReversed()) {
        const here = row(d, at, width);
        kernels.lstmStepBackprop(
          row(gates, at, width),
          before === undefined ? 0 : row(cell, before, units),
          row(cell, at, units),
          outside(dy, at),
          outerSteps,
          ...([dh, dc, here, batch, length, units, state.kind, gate.kind, penalty] as const),
        );
        if (before !== undefined)
          product(
            run,
            TRANSPOSE_B,
            [batch, units, width],
            [here, length * width],
            [u, width],
            [dh, units],
          );
      }
      const rows = batch * length;
      product(
        run,
        TRANSPOSE_A,
        [channels, width, rows],
        [x, channels],
        [d, width],
        [gradients[0], width],
      );
      product(
        run,
        TRANSPOSE_A,
        [units, width, rows],
        [previous, units],
        [d, width],
        [gradients[1], width],
      );
      kernels.sumRows(d, gradients[2], rows, width);
      if (dx !== 0)
        product(run, TRANSPOSE_B, [rows, channels, width], [d, width], [w, width], [dx, channels]);
    },

    forwardTangent(run, cells) {
      const { batch } = run;
      const { x, xTangent, yTangent, parameters, directions } = cells;
      const [w, u] = parameters;
      const { gates, cell, previous } = kept(run, cells);
      const along = tangents(run, cells);
      const rows = batch * length;
      const all = [rows, width, channels] as const;
      product(
        run,
        0,
        all,
        [x, channels],
        [directions[0], width],
        [along.gates, width],
        directions[2],
      );
      if (xTangent !== 0)
        product(run, ACCUMULATE, all, [xTangent, channels], [w, width], [along.gates, width]);
      const view = (address: number, columns: number) => floats(run, address, rows * columns);
      const [g, c, a] = [view(gates, width), view(cell, units), view(along.gates, width)];
      const [cTangent, hTangent] = [view(along.cell, units), view(along.previous, units).fill(0)];
      const out = floats(run, yTangent, batch * outerSteps * units);
      for (const { at, before, next } of steps) {
        if (before !== undefined)
          for (const [h, kernel] of [
            [along.previous, u],
            [previous, directions[1]],
          ])
            product(
              run,
              ACCUMULATE,
              [batch, width, units],
              [row(h, at, units), length * units],
              [kernel, width],
              [row(along.gates, at, width), length * width],
            );
        for (let b = 0; b < batch; b++)
          for (let j = 0; j < units; j++) {
            const here = (b * length + at) * units + j;
            const p = (b * length + at) * width + j;
            const [i, f, n, o] = [g[p], g[p + units], g[p + 2 * units], g[p + 3 * units]];
            const iT = gate.first(0, i) * a[p];
            const fT = gate.first(0, f) * a[p + units];
            const nT = state.first(0, n) * a[p + 2 * units];
            const oT = gate.first(0, o) * a[p + 3 * units];
            const was = before === undefined ? -1 : (b * length + before) * units + j;
            const cT = iT * n + i * nT + (was < 0 ? 0 : fT * c[was] + f * cTangent[was]);
            cTangent[here] = cT;
            const value = state.value(c[here]);
            const hT = oT * value + o * state.first(0, value) * cT;
            if (next !== undefined) hTangent[(b * length + next) * units + j] = hT;
            if (returnSequences) out[here] = hT;
            else if (at === last.at) out[b * units + j] = hT;
          }
      }
    },

    backwardTangent(run, cells, penalty) {
      const { kernels, batch } = run;
      const { x, xTangent, dy, dyTangent, dxTangent, parameters, directions, products } = cells;
      const [w, u] = parameters;
      const { gates, cell, previous, dh, dc } = kept(run, cells);
      const along = tangents(run, cells);
      const rows = batch * length;
      const view = (address: number, columns: number) => floats(run, address, rows * columns);
      const [g, c, a] = [view(gates, width), view(cell, units), view(along.gates, width)];
      const cTangent = view(along.cell, units);
      const dTangent = view(along.dTangent, width);
      const outer = (address: number) => floats(run, address, batch * outerSteps * units);
      const [dys, dysTangent] = [outer(dy), outer(dyTangent)];
      const carry = floats(run, dh, batch * units).fill(0);
      const carryTangent = floats(run, along.dhTangent, batch * units).fill(0);
      const carryCell = floats(run, dc, batch * units).fill(0);
      const carryCellTangent = new Float64Array(batch * units);
      for (const { at, before } of steps.toReversed()) {
        for (let b = 0; b < batch; b++)
          for (let j = 0; j < units; j++) {
            const here = (b * length + at) * units + j;
            const p = (b * length + at) * width + j;
            const k = b * units + j;
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
            const was = before === undefined ? -1 : (b * length + before) * units + j;
            const [cWas, cWasT] = was < 0 ? [0, 0] : [c[was], cTangent[was]];
            const own = returnSequences ? here : at === last.at ? k : -1;
            const total = carry[k] + (own < 0 ? 0 : dys[own]) + penalty * o * value;
            const totalT =
              carryTangent[k] +
              (own < 0 ? 0 : dysTangent[own]) +
              penalty * (oT * value + o * slope * cT);
            const inner = total * o * slope + carryCell[k];
            const innerT =
              totalT * o * slope + total * (oT * slope + o * bend * cT) + carryCellTangent[k];
            dTangent[p] =
              (innerT * n + inner * nT) * gate.first(0, i) +
              inner * n * (gate.second?.(0, i) ?? 0) * aI;
            dTangent[p + units] =
              (innerT * cWas + inner * cWasT) * gate.first(0, f) +
              inner * cWas * (gate.second?.(0, f) ?? 0) * aF;
            dTangent[p + 2 * units] =
              (innerT * i + inner * iT) * state.first(0, n) +
              inner * i * (state.second?.(0, n) ?? 0) * aN;
            dTangent[p + 3 * units] =
              (totalT * value + total * slope * cT) * gate.first(0, o) +
              total * value * (gate.second?.(0, o) ?? 0) * aO;
            carryCell[k] = inner * f;
            carryCellTangent[k] = innerT * f + inner * fT;
          }
        if (before === undefined) continue;
        const d = [row(along.d, at, width), length * width] as const;
        const dT = [row(along.dTangent, at, width), length * width] as const;
        const size = [batch, units, width] as const;
        product(run, TRANSPOSE_B, size, d, [u, width], [dh, units]);
        product(run, TRANSPOSE_B, size, dT, [u, width], [along.dhTangent, units]);
        product(
          run,
          TRANSPOSE_B + ACCUMULATE,
          size,
          d,
          [directions[1], width],
          [along.dhTangent, units],
        );
      }
      const d = [along.d, width] as const;
      const dT = [along.dTangent, width] as const;
      const byKernel = [channels, width, rows] as const;
      product(run, TRANSPOSE_A, byKernel, [x, channels], dT, [products[0], width]);
      if (xTangent !== 0)
        product(run, TRANSPOSE_A + ACCUMULATE, byKernel, [xTangent, channels], d, [
          products[0],
          width,
        ]);
      const byState = [units, width, rows] as const;
      product(run, TRANSPOSE_A, byState, [previous, units], dT, [products[1], width]);
      product(run, TRANSPOSE_A + ACCUMULATE, byState, [along.previous, units], d, [
        products[1],
        width,
      ]);
      kernels.sumRows(along.dTangent, products[2], rows, width);
      if (dxTangent === 0) return;
      const byInput = [rows, channels, width] as const;
      product(run, TRANSPOSE_B, byInput, dT, [w, width], [dxTangent, channels]);
      product(
        run,
        TRANSPOSE_B + ACCUMULATE,
        byInput,
        d,
        [directions[0], width],
        [dxTangent, channels],
      );
    },
  };
}
