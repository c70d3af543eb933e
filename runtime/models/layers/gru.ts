import * as v from "valibot";
import { ACCUMULATE, TRANSPOSE_A, TRANSPOSE_B } from "../../wasm/kernels.js";
import { trueOrFalse } from "./fields.js";
import { copy, floats, layerKind, type LayerParameter } from "./layer.js";
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
 * GRU (Cho et al. 2014, arXiv:1406.1078), gates in the order z r n:
 *   z = g(x Wz + bz + h Uz + cz), r likewise, n = f(x Wn + bn + r (h Un + cn)), h <- z h + (1 - z) n.
 * With `resetAfter: false` there is no recurrent bias c, and n = f(x Wn + bn + (r h) Un). h begins
 * at 0. MAN penalises h at all steps.
 */
export const gru = layerKind({
  schema: v.strictObject({
    type: v.literal("gru"),
    ...recurrentFields,
    resetAfter: trueOrFalse,
  }),
  resolve: (description, [input], complain) => ({
    layer: recurrentLayer(input, description, complain, (form) =>
      recurrence(form, description.resetAfter ?? true),
    ),
  }),
});

/** `hidden` is what n takes from the state: h Un + cn, or r h. */
type Own = "hidden" | "dReset";
type OwnTangents = "hidden" | "dHidden" | "dHiddenTangent" | "dResetTangent";
type GruPass = Pass<Own, OwnTangents>;

/** The columns of z and r, and those of n, of a kernel or of gates; a step's states. */
const matrices = ({ units, length }: Form) => ({
  gatesOf: (address: number, stride = 3 * units): Matrix => [address, stride],
  newOf: (address: number, stride = 3 * units): Matrix => [address + 8 * units, stride],
  stateAt: (address: number, at: number): Matrix => [row(address, at, units), length * units],
});

function recurrence(form: Form, resetAfter: boolean): Recurrence<Own, OwnTangents> {
  const { length, units, state, gate } = form;
  const width = 3 * units;
  const { gatesOf, newOf, stateAt } = matrices(form);
  const bias = (name: string): LayerParameter => ({
    name,
    shape: [width],
    initial: { fanIn: units },
  });
  return {
    blocks: 3,
    biases: [bias("bias"), ...(resetAfter ? [bias("recurrentBias")] : [])],
    words: { hidden: units * length, dReset: units },
    tangentWords: {
      hidden: units * length,
      dHidden: units * length,
      dHiddenTangent: units * length,
      dResetTangent: units,
    },

    forward({ run, cells, kept: { gates, hidden, previous } }, step) {
      const { at, before, next } = step;
      const { kernels, batch } = run;
      const [, u, , recurrentBias = 0] = cells.parameters;
      const here = row(gates, at, width);
      const was = stateAt(previous, at);
      // Nothing comes from the state before the first step, which is 0.
      const inner = before === undefined ? 0 : units;
      const zr = [batch, 2 * units, inner] as const;
      const n = [batch, units, inner] as const;
      if (inner > 0) product(run, ACCUMULATE, zr, was, gatesOf(u), gatesOf(here, length * width));
      if (resetAfter)
        product(run, 0, n, was, newOf(u), stateAt(hidden, at), recurrentBias + 8 * units);
      const [kind, ofGates] = [state.kind, gate.kind];
      const rows = [batch, length, units] as const;
      kernels.gruGates(here, recurrentBias, was[0], row(hidden, at, units), ...rows, ofGates);
      if (!resetAfter && inner > 0)
        product(run, ACCUMULATE, n, stateAt(hidden, at), newOf(u), newOf(here, length * width));
      const to = next === undefined ? 0 : row(previous, next, units);
      kernels.gruStep(here, was[0], ...outside(form, cells.y, step), to, ...rows, kind);
    },

    backward({ run, cells, kept, along, d }, step, penalty) {
      const { at, before } = step;
      const { kernels, batch } = run;
      const { gates, hidden, previous, dh, dReset } = kept;
      const u = cells.parameters[1];
      const dHidden = cells.tangentMemory > 0 ? along.dHidden : hidden;
      const here = row(d, at, width);
      const was = row(previous, at, units);
      const rows = [batch, length, units] as const;
      kernels.gruStepBackprop(
        row(gates, at, width),
        was,
        row(hidden, at, units),
        ...outside(form, cells.dy, step),
        dh,
        here,
        row(dHidden, at, units),
        ...rows,
        state.kind,
        gate.kind,
        Number(resetAfter),
        penalty,
      );
      const n = [batch, units, units] as const;
      if (!resetAfter) {
        product(run, TRANSPOSE_B, n, newOf(here, length * width), newOf(u), [dReset, units]);
        const r = row(gates, at, width) + 4 * units;
        kernels.gruGatesBackprop(r, was, dReset, dh, here + 4 * units, ...rows, gate.kind);
      }
      if (before === undefined) return;
      const back = TRANSPOSE_B + ACCUMULATE;
      const zr = [batch, units, 2 * units] as const;
      product(run, back, zr, gatesOf(here, length * width), gatesOf(u), [dh, units]);
      if (resetAfter) product(run, back, n, stateAt(dHidden, at), newOf(u), [dh, units]);
    },

    gradients({ run, cells, kept, along, d }) {
      const dHidden = cells.tangentMemory > 0 ? along.dHidden : kept.hidden;
      toKernel(run, 0, kept, [d, dHidden], cells.gradients[1]);
      toBias(run, cells.gradients, dHidden);
    },

    forwardTangent: (pass, step) => forwardTangent(form, resetAfter, pass, step),
    backwardTangent: (pass, step, penalty) =>
      backwardTangent(form, resetAfter, pass, step, penalty),

    products({ run, cells: { products }, kept, along }) {
      toKernel(run, 0, kept, [along.dTangent, along.dHiddenTangent], products[1]);
      toKernel(run, ACCUMULATE, along, [along.d, along.dHidden], products[1]);
      toBias(run, products, along.dHiddenTangent);
    },
  };

  /** dU [+]= from the state (or r times it) and the gradients of what it was multiplied into. */
  function toKernel(
    run: GruPass["run"],
    how: number,
    { previous, hidden }: { readonly previous: number; readonly hidden: number },
    [d, dHidden]: readonly [number, number],
    to: number,
  ): void {
    const rows = run.batch * length;
    const h: Matrix = [previous, units];
    const transposed = TRANSPOSE_A + how;
    product(run, transposed, [units, 2 * units, rows], h, gatesOf(d), gatesOf(to));
    const [from, gradient]: readonly Matrix[] = resetAfter
      ? [h, [dHidden, units]]
      : [[hidden, units], newOf(d)];
    product(run, transposed, [units, units, rows], from, gradient, newOf(to));
  }

  /** The recurrent bias' gradient: that of the bias for z and r, its own for n. */
  function toBias(run: GruPass["run"], gradients: readonly number[], dHidden: number): void {
    if (!resetAfter) return;
    copy(run, gradients[2], gradients[3], 2 * units);
    run.kernels.sumRows(dHidden, gradients[3] + 8 * units, run.batch * length, units);
  }
}

/** The tangent of a step, in JavaScript: it is needed for curvature only. */
function forwardTangent(
  form: Form,
  resetAfter: boolean,
  { run, cells, kept, along }: GruPass,
  step: TimeStep,
): void {
  const { length, units, state, gate } = form;
  const { at, before, next } = step;
  const { batch } = run;
  const width = 3 * units;
  const { gatesOf, newOf, stateAt } = matrices(form);
  const u = cells.parameters[1];
  const [, uT, , recurrentBiasT = 0] = cells.directions;
  const view = (address: number, columns: number) => floats(run, address, batch * length * columns);
  const [g, q, h] = [view(kept.gates, width), view(kept.hidden, units), view(kept.previous, units)];
  const [a, qT] = [view(along.gates, width), view(along.hidden, units)];
  const hT = view(along.previous, units);
  const out = floats(run, cells.yTangent, batch * (form.sequences ? length : 1) * units);
  const bias = recurrentBiasT === 0 ? undefined : floats(run, recurrentBiasT, width);
  const here = row(along.gates, at, width);
  const inner = before === undefined ? 0 : units;
  const zr = [batch, 2 * units, inner] as const;
  const n = [batch, units, inner] as const;
  const toGates = gatesOf(here, length * width);
  if (inner > 0) {
    product(run, ACCUMULATE, zr, stateAt(along.previous, at), gatesOf(u), toGates);
    product(run, ACCUMULATE, zr, stateAt(kept.previous, at), gatesOf(uT), toGates);
  }
  if (resetAfter) {
    const to = stateAt(along.hidden, at);
    product(run, 0, n, stateAt(kept.previous, at), newOf(uT), to, recurrentBiasT + 8 * units);
    product(run, ACCUMULATE, n, stateAt(along.previous, at), newOf(u), to);
  }
  eachUnit(form, run, at, width, (p, k, c) => {
    const j = c % units;
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
    product(run, ACCUMULATE, n, stateAt(kept.hidden, at), newOf(uT), to);
  }
  eachUnit(form, run, at, width, (p, k, c) => {
    const [z, value] = [g[p], g[p + 2 * units]];
    const zT = gate.first(0, z) * a[p];
    const nT = state.first(0, value) * a[p + 2 * units];
    const tangent = zT * (h[k] - value) + z * (hT[k] - nT) + nT;
    if (next !== undefined) hT[k + (next - at) * units] = tangent;
    const place = outer(form, step, k, c);
    if (place >= 0) out[place] = tangent;
  });
}

/** The tangent of a step's backward pass, and that pass once more. */
function backwardTangent(
  form: Form,
  resetAfter: boolean,
  { run, cells, kept, along }: GruPass,
  step: TimeStep,
  penalty: number,
): void {
  const { length, units, state, gate } = form;
  const { at, before } = step;
  const { batch } = run;
  const width = 3 * units;
  const { gatesOf, newOf, stateAt } = matrices(form);
  const [u, uT] = [cells.parameters[1], cells.directions[1]];
  const view = (address: number, columns: number) => floats(run, address, batch * length * columns);
  const [g, q, h] = [view(kept.gates, width), view(kept.hidden, units), view(kept.previous, units)];
  const a = view(along.gates, width);
  const [qT, hT] = [view(along.hidden, units), view(along.previous, units)];
  const [dT, dqT] = [view(along.dTangent, width), view(along.dHiddenTangent, units)];
  const outerSize = batch * (form.sequences ? length : 1) * units;
  const [dys, dysT] = [cells.dy, cells.dyTangent].map((at) => floats(run, at, outerSize));
  const carried = (address: number) => floats(run, address, batch * units);
  const [carry, carryT] = [carried(kept.dh), carried(along.dhTangent)];
  eachUnit(form, run, at, width, (p, k, c) => {
    const [z, r, value] = [g[p], g[p + units], g[p + 2 * units]];
    const [aR, aN] = [a[p + units], a[p + 2 * units]];
    const zT = gate.first(0, z) * a[p];
    const rT = gate.first(0, r) * aR;
    const slope = state.first(0, value);
    const nT = slope * aN;
    const gap = h[k] - value;
    const gapT = hT[k] - nT;
    const place = outer(form, step, k, c);
    const total = carry[c] + (place < 0 ? 0 : dys[place]) + penalty * (z * gap + value);
    const totalT = carryT[c] + (place < 0 ? 0 : dysT[place]) + penalty * (zT * gap + z * gapT + nT);
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
        (dnT * q[k] + dn * qT[k]) * gate.first(0, r) + dn * q[k] * (gate.second?.(0, r) ?? 0) * aR;
      dqT[k] = dnT * r + dn * rT;
    }
    carry[c] = total * z;
    carryT[c] = totalT * z + total * zT;
  });
  const [d, dTangent] = [row(along.d, at, width), row(along.dTangent, at, width)];
  const n = [batch, units, units] as const;
  const toCarry: Matrix = [kept.dh, units];
  const toCarryT: Matrix = [along.dhTangent, units];
  if (!resetAfter) {
    const [dn, dnT] = [newOf(d, length * width), newOf(dTangent, length * width)];
    const toReset: Matrix = [along.dResetTangent, units];
    product(run, TRANSPOSE_B, n, dn, newOf(u), [kept.dReset, units]);
    product(run, TRANSPOSE_B, n, dnT, newOf(u), toReset);
    product(run, TRANSPOSE_B + ACCUMULATE, n, dn, newOf(uT), toReset);
    const [own, ownT] = [carried(kept.dReset), carried(along.dResetTangent)];
    eachUnit(form, run, at, width, (p, k, c) => {
      const r = g[p + units];
      const aR = a[p + units];
      const slope = gate.first(0, r);
      dT[p + units] =
        (ownT[c] * h[k] + own[c] * hT[k]) * slope + own[c] * h[k] * (gate.second?.(0, r) ?? 0) * aR;
      carry[c] += own[c] * r;
      carryT[c] += ownT[c] * r + own[c] * slope * aR;
    });
  }
  if (before === undefined) return;
  const back = TRANSPOSE_B + ACCUMULATE;
  const zr = [batch, units, 2 * units] as const;
  const [dGates, dGatesT] = [gatesOf(d, length * width), gatesOf(dTangent, length * width)];
  product(run, back, zr, dGates, gatesOf(u), toCarry);
  product(run, back, zr, dGatesT, gatesOf(u), toCarryT);
  product(run, back, zr, dGates, gatesOf(uT), toCarryT);
  if (!resetAfter) return;
  const [dq, dqTangent] = [stateAt(along.dHidden, at), stateAt(along.dHiddenTangent, at)];
  product(run, back, n, dq, newOf(u), toCarry);
  product(run, back, n, dqTangent, newOf(u), toCarryT);
  product(run, back, n, dq, newOf(uT), toCarryT);
}
