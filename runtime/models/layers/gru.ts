import * as v from "valibot";
import { ACCUMULATE, TRANSPOSE_A, TRANSPOSE_B } from "../../wasm/kernels.js";
import { elements } from "../../tensors/shape.js";
import { activationNamed, type Activation } from "./activations.js";
import { floats, layerKind, type Cells, type Layer, type Run } from "./layer.js";
import {
  product,
  recurrentFields,
  regions,
  sequenceOf,
  stepsOf,
  wordsOf,
  type Matrix,
} from "./recurrent.js";

/**
 * GRU (Cho et al. 2014, arXiv:1406.1078), gates in the order z r n:
 *   z = g(x Wz + bz + h Uz + cz), r likewise, n = f(x Wn + bn + r (h Un + cn)), h <- z h + (1 - z) n.
 * With `resetAfter: false` there is no recurrent bias c, and n = f(x Wn + bn + (r h) Un). h begins
 * at 0. MAN penalises h at all steps.
 */
export const gru = layerKind({
  schema: v.strictObject({
    type: v.literal("gru"),
    ...recurrentFields,
    resetAfter: v.optional(v.boolean("true or false")),
  }),
  takesActivation: false,
  resolve(description, [input], complain) {
    const { activation = "tanh", recurrentActivation = "sigmoid" } = description;
    const { units, returnSequences = false, reverse = false, resetAfter = true } = description;
    return {
      layer: gruLayer(sequenceOf(input, complain), {
        units,
        returnSequences,
        reverse,
        resetAfter,
        state: activationNamed(activation),
        gate: activationNamed(recurrentActivation),
      }),
    };
  },
});

interface Form {
  readonly units: number;
  readonly returnSequences: boolean;
  readonly reverse: boolean;
  readonly resetAfter: boolean;
  readonly state: Activation;
  readonly gate: Activation;
}

function gruLayer([length, channels]: readonly [number, number], form: Form): Layer {
  const { units, returnSequences, reverse, resetAfter, state, gate } = form;
  const steps = stepsOf(length, reverse);
  const last = steps[length - 1];
  const width = 3 * units;
  const words = {
    gates: width * length,
    /** What n takes from the state: h Un + cn, or r h. */
    hidden: units * length,
    /** h of the step before. */
    previous: units * length,
    dh: units,
    dReset: units,
  };
  const tangentWords = {
    d: width * length,
    dHidden: units * length,
    gates: width * length,
    hidden: units * length,
    previous: units * length,
    dTangent: width * length,
    dHiddenTangent: units * length,
    dhTangent: units,
    dResetTangent: units,
  };
  const kept = ({ batch }: Run, { memory }: Cells) => regions(memory, batch, words);
  const tangents = ({ batch }: Run, { tangentMemory }: Cells) =>
    regions(tangentMemory, batch, tangentWords);
  const row = (address: number, at: number, columns: number) => address + 4 * at * columns;
  /** The columns of z and r, and those of n, of a kernel or of a step's gates. */
  const gatesOf = (address: number, stride = width): Matrix => [address, stride];
  const newOf = (address: number, stride = width): Matrix => [address + 8 * units, stride];
  const stateAt = (address: number, at: number): Matrix => [
    row(address, at, units),
    length * units,
  ];
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
      { name: "bias", shape: [width], initial },
      ...(resetAfter ? [{ name: "recurrentBias", shape: [width], initial }] : []),
    ],
    remembers: wordsOf(words),
    remembersTangents: wordsOf(tangentWords),
    stateElements: length * units,

    forward(run, cells, _relu, norm) {
      const { kernels, batch } = run;
      const { x, y, parameters } = cells;
      const [w, u, bias, recurrentBias = 0] = parameters;
      const { gates, hidden, previous } = kept(run, cells);
      const all = [batch * length, width, channels] as const;
      product(run, 0, all, [x, channels], [w, width], [gates, width], bias);
      const first = floats(run, previous, batch * length * units);
      for (let b = 0; b < batch; b++)
        first.fill(0, (b * length + steps[0].at) * units, (b * length + steps[0].at + 1) * units);
      for (const { at, before, next } of steps) {
        const here = row(gates, at, width);
        const was = stateAt(previous, at);
        // Nothing comes from the state before the first step, which is 0.
        const inner = before === undefined ? 0 : units;
        const zr = [batch, 2 * units, inner] as const;
        const n = [batch, units, inner] as const;
        if (inner > 0) product(run, ACCUMULATE, zr, was, gatesOf(u), gatesOf(here, length * width));
        if (resetAfter)
          product(run, 0, n, was, newOf(u), stateAt(hidden, at), recurrentBias + 8 * units);
        kernels.gruGates(
          ...([here, recurrentBias, was[0], row(hidden, at, units)] as const),
          ...([batch, length, units, gate.kind] as const),
        );
        if (!resetAfter && inner > 0)
          product(run, ACCUMULATE, n, stateAt(hidden, at), newOf(u), newOf(here, length * width));
        kernels.gruStep(
          ...([here, was[0], outside(y, at), outerSteps] as const),
          next === undefined ? 0 : row(previous, next, units),
          ...([batch, length, units, state.kind] as const),
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
      const { gates, hidden, previous, dh, dReset } = kept(run, cells);
      const apart = cells.tangentMemory !== 0;
      const d = apart ? tangents(run, cells).d : gates;
      const dHidden = apart ? tangents(run, cells).dHidden : hidden;
      floats(run, dh, batch * units).fill(0);
      const zr = [batch, units, 2 * units] as const;
      const n = [batch, units, units] as const;
      for (const { at, before } of steps.toReversed()) {
        const here = row(d, at, width);
        const was = row(previous, at, units);
        kernels.gruStepBackprop(
          ...([row(gates, at, width), was, row(hidden, at, units)] as const),
          ...([outside(dy, at), outerSteps, dh, here, row(dHidden, at, units)] as const),
          ...([batch, length, units, state.kind, gate.kind, Number(resetAfter), penalty] as const),
        );
        if (!resetAfter) {
          product(run, TRANSPOSE_B, n, newOf(here, length * width), newOf(u), [dReset, units]);
          kernels.gruGatesBackprop(
            ...([row(gates, at, width) + 4 * units, was, dReset, dh, here + 4 * units] as const),
            ...([batch, length, units, gate.kind] as const),
          );
        }
        if (before === undefined) continue;
        const back = TRANSPOSE_B + ACCUMULATE;
        product(run, back, zr, gatesOf(here, length * width), gatesOf(u), [dh, units]);
        if (resetAfter) product(run, back, n, stateAt(dHidden, at), newOf(u), [dh, units]);
      }
      const rows = batch * length;
      const byKernel = [channels, width, rows] as const;
      product(run, TRANSPOSE_A, byKernel, [x, channels], [d, width], [gradients[0], width]);
      toRecurrent(run, 0, gradients[1], [previous, hidden, d, dHidden]);
      kernels.sumRows(d, gradients[2], rows, width);
      if (resetAfter) biases(run, gradients, dHidden);
      if (dx !== 0)
        product(run, TRANSPOSE_B, [rows, channels, width], [d, width], [w, width], [dx, channels]);
    },

    forwardTangent(run, cells) {
      const { batch } = run;
      const { x, xTangent, yTangent, parameters, directions } = cells;
      const [w, u] = parameters;
      const [wT, uT, biasT, recurrentBiasT = 0] = directions;
      const { gates, hidden, previous } = kept(run, cells);
      const along = tangents(run, cells);
      const rows = batch * length;
      const all = [rows, width, channels] as const;
      product(run, 0, all, [x, channels], [wT, width], [along.gates, width], biasT);
      if (xTangent !== 0)
        product(run, ACCUMULATE, all, [xTangent, channels], [w, width], [along.gates, width]);
      const view = (address: number, columns: number) => floats(run, address, rows * columns);
      const [g, q, h] = [view(gates, width), view(hidden, units), view(previous, units)];
      const [a, qT] = [view(along.gates, width), view(along.hidden, units)];
      const hT = view(along.previous, units).fill(0);
      const out = floats(run, yTangent, batch * outerSteps * units);
      const bias = recurrentBiasT === 0 ? undefined : floats(run, recurrentBiasT, width);
      for (const { at, before, next } of steps) {
        const here = row(along.gates, at, width);
        const inner = before === undefined ? 0 : units;
        const zr = [batch, 2 * units, inner] as const;
        const n = [batch, units, inner] as const;
        if (inner > 0)
          for (const [from, kernel] of [
            [along.previous, u],
            [previous, uT],
          ])
            product(
              run,
              ACCUMULATE,
              zr,
              stateAt(from, at),
              gatesOf(kernel),
              gatesOf(here, length * width),
            );
        if (resetAfter) {
          const to = stateAt(along.hidden, at);
          product(run, 0, n, stateAt(previous, at), newOf(uT), to, recurrentBiasT + 8 * units);
          product(run, ACCUMULATE, n, stateAt(along.previous, at), newOf(u), to);
        }
        const each = (visit: (p: number, k: number, b: number, j: number) => void) => {
          for (let b = 0; b < batch; b++)
            for (let j = 0; j < units; j++)
              visit((b * length + at) * width + j, (b * length + at) * units + j, b, j);
        };
        each((p, k, _b, j) => {
          if (bias !== undefined) {
            a[p] += bias[j];
            a[p + units] += bias[units + j];
          }
          const rT = gate.first(0, g[p + units]) * a[p + units];
          if (resetAfter) a[p + 2 * units] += rT * q[k] + g[p + units] * qT[k];
          else qT[k] = rT * h[k] + g[p + units] * hT[k];
        });
        if (!resetAfter && inner > 0) {
          const to = newOf(here, length * width);
          product(run, ACCUMULATE, n, stateAt(along.hidden, at), newOf(u), to);
          product(run, ACCUMULATE, n, stateAt(hidden, at), newOf(uT), to);
        }
        each((p, k, b, j) => {
          const [z, value] = [g[p], g[p + 2 * units]];
          const zT = gate.first(0, z) * a[p];
          const nT = state.first(0, value) * a[p + 2 * units];
          const tangent = zT * (h[k] - value) + z * (hT[k] - nT) + nT;
          if (next !== undefined) hT[(b * length + next) * units + j] = tangent;
          if (returnSequences) out[k] = tangent;
          else if (at === last.at) out[b * units + j] = tangent;
        });
      }
    },

    backwardTangent(run, cells, penalty) {
      const { kernels, batch } = run;
      const { x, xTangent, dy, dyTangent, dxTangent, parameters, directions, products } = cells;
      const [w, u] = parameters;
      const [wT, uT] = directions;
      const { gates, hidden, previous, dh, dReset } = kept(run, cells);
      const along = tangents(run, cells);
      const rows = batch * length;
      const view = (address: number, columns: number) => floats(run, address, rows * columns);
      const [g, q, h] = [view(gates, width), view(hidden, units), view(previous, units)];
      const [a, qT, hT] = [
        view(along.gates, width),
        view(along.hidden, units),
        view(along.previous, units),
      ];
      const [dT, dqT] = [view(along.dTangent, width), view(along.dHiddenTangent, units)];
      const outer = (address: number) => floats(run, address, batch * outerSteps * units);
      const [dys, dysT] = [outer(dy), outer(dyTangent)];
      const carry = floats(run, dh, batch * units).fill(0);
      const carryT = floats(run, along.dhTangent, batch * units).fill(0);
      const own = floats(run, dReset, batch * units);
      const ownT = floats(run, along.dResetTangent, batch * units);
      const n = [batch, units, units] as const;
      const zr = [batch, units, 2 * units] as const;
      for (const { at, before } of steps.toReversed()) {
        const each = (visit: (p: number, k: number, c: number) => void) => {
          for (let b = 0; b < batch; b++)
            for (let j = 0; j < units; j++)
              visit((b * length + at) * width + j, (b * length + at) * units + j, b * units + j);
        };
        const [d, dTangent] = [row(along.d, at, width), row(along.dTangent, at, width)];
        each((p, k, c) => {
          const [z, r, value] = [g[p], g[p + units], g[p + 2 * units]];
          const [aR, aN] = [a[p + units], a[p + 2 * units]];
          const zT = gate.first(0, z) * a[p];
          const rT = gate.first(0, r) * aR;
          const slope = state.first(0, value);
          const nT = slope * aN;
          const gap = h[k] - value;
          const gapT = hT[k] - nT;
          const place = returnSequences ? k : at === last.at ? c : -1;
          const total = carry[c] + (place < 0 ? 0 : dys[place]) + penalty * (z * gap + value);
          const totalT =
            carryT[c] + (place < 0 ? 0 : dysT[place]) + penalty * (zT * gap + z * gapT + nT);
          const dn = total * (1 - z) * slope;
          const dnT =
            (totalT * (1 - z) - total * zT) * slope +
            total * (1 - z) * (state.second?.(0, value) ?? 0) * aN;
          dT[p] =
            (totalT * gap + total * gapT) * gate.first(0, z) +
            total * gap * (gate.second?.(0, z) ?? 0) * a[p];
          dT[p + 2 * units] = dnT;
          if (resetAfter) {
            dT[p + units] =
              (dnT * q[k] + dn * qT[k]) * gate.first(0, r) +
              dn * q[k] * (gate.second?.(0, r) ?? 0) * aR;
            dqT[k] = dnT * r + dn * rT;
          }
          carry[c] = total * z;
          carryT[c] = totalT * z + total * zT;
        });
        if (!resetAfter) {
          const [dn, dnT] = [newOf(d, length * width), newOf(dTangent, length * width)];
          product(run, TRANSPOSE_B, n, dn, newOf(u), [dReset, units]);
          product(run, TRANSPOSE_B, n, dnT, newOf(u), [along.dResetTangent, units]);
          product(run, TRANSPOSE_B + ACCUMULATE, n, dn, newOf(uT), [along.dResetTangent, units]);
          each((p, k, c) => {
            const r = g[p + units];
            const aR = a[p + units];
            const slope = gate.first(0, r);
            dT[p + units] =
              (ownT[c] * h[k] + own[c] * hT[k]) * slope +
              own[c] * h[k] * (gate.second?.(0, r) ?? 0) * aR;
            carry[c] += own[c] * r;
            carryT[c] += ownT[c] * r + own[c] * slope * aR;
          });
        }
        if (before === undefined) continue;
        const back = TRANSPOSE_B + ACCUMULATE;
        const [dGates, dGatesT] = [gatesOf(d, length * width), gatesOf(dTangent, length * width)];
        product(run, back, zr, dGates, gatesOf(u), [dh, units]);
        product(run, back, zr, dGatesT, gatesOf(u), [along.dhTangent, units]);
        product(run, back, zr, dGates, gatesOf(uT), [along.dhTangent, units]);
        if (!resetAfter) continue;
        const [dq, dqTangent] = [stateAt(along.dHidden, at), stateAt(along.dHiddenTangent, at)];
        product(run, back, n, dq, newOf(u), [dh, units]);
        product(run, back, n, dqTangent, newOf(u), [along.dhTangent, units]);
        product(run, back, n, dq, newOf(uT), [along.dhTangent, units]);
      }
      const byKernel = [channels, width, rows] as const;
      const to: Matrix = [products[0], width];
      product(run, TRANSPOSE_A, byKernel, [x, channels], [along.dTangent, width], to);
      if (xTangent !== 0)
        product(
          run,
          TRANSPOSE_A + ACCUMULATE,
          byKernel,
          [xTangent, channels],
          [along.d, width],
          to,
        );
      toRecurrent(run, 0, products[1], [previous, hidden, along.dTangent, along.dHiddenTangent]);
      toRecurrent(run, ACCUMULATE, products[1], [
        along.previous,
        along.hidden,
        along.d,
        along.dHidden,
      ]);
      kernels.sumRows(along.dTangent, products[2], rows, width);
      if (resetAfter) biases(run, products, along.dHiddenTangent);
      if (dxTangent === 0) return;
      const byInput = [rows, channels, width] as const;
      product(
        run,
        TRANSPOSE_B,
        byInput,
        [along.dTangent, width],
        [w, width],
        [dxTangent, channels],
      );
      product(
        run,
        TRANSPOSE_B + ACCUMULATE,
        byInput,
        [along.d, width],
        [wT, width],
        [dxTangent, channels],
      );
    },
  };

  /** dU [+]= from the state (or r times it) and the gradients of what it was multiplied into. */
  function toRecurrent(
    run: Run,
    how: number,
    kernel: number,
    [previous, hidden, d, dHidden]: readonly [number, number, number, number],
  ): void {
    const rows = run.batch * length;
    product(
      run,
      TRANSPOSE_A + how,
      [units, 2 * units, rows],
      [previous, units],
      gatesOf(d),
      gatesOf(kernel),
    );
    product(
      run,
      TRANSPOSE_A + how,
      [units, units, rows],
      [resetAfter ? previous : hidden, units],
      resetAfter ? [dHidden, units] : newOf(d),
      newOf(kernel),
    );
  }

  /** The recurrent bias' gradient: that of the bias for z and r, its own for n. */
  function biases(run: Run, gradients: readonly number[], dHidden: number): void {
    const { kernels, batch, memory } = run;
    const bytes = new Uint8Array(memory.buffer);
    bytes.copyWithin(gradients[3], gradients[2], gradients[2] + 8 * units);
    kernels.sumRows(dHidden, gradients[3] + 8 * units, batch * length, units);
  }
}
