import { activated, derivative, read, write } from "../lanes/activations";
import { madd } from "../lanes/lanes";

// One step of a recurrent layer for all examples of a batch, between the products with its weights.
// f is the layer's activation, g that of its gates, by the numbers of lanes/activations.ts; both are
// such whose derivative follows from their value.
//
// A row of an operand [batch, steps, n] at one step is addressed by where its first example's lies;
// the next example's lies `steps` rows further. `next` is where the state goes that the step behind
// begins with, null at the last one.

/** Bytes from an example's row to that of the next one. */
@inline
function stride(steps: i32, columns: i32): usize {
  return <usize>(steps * columns) << 2;
}

// LSTM. gates: [.., 4u], i f c o, before their activation, then behind it:
//   c = g(f) before + g(i) f(c~);  h = g(o) f(c).
// before: c of the step before, null at the first; c: [.., u]; h, next: [.., u], h null where only next is kept.
export function lstmStep(
  gates: usize, before: usize, c: usize, h: usize, hSteps: i32, next: usize, batch: i32, steps: i32, units: i32, f: i32, g: i32,
): void {
  const u = <usize>units << 2;
  for (let b = 0; b < batch; b++) {
    for (let at: usize = 0; at < u; ) {
      const wide = at + 16 <= u;
      const i = activated(g, read(gates + at, wide));
      const forget = activated(g, read(gates + u + at, wide));
      const candidate = activated(f, read(gates + 2 * u + at, wide));
      const o = activated(g, read(gates + 3 * u + at, wide));
      let cell = f32x4.mul(i, candidate);
      if (before) cell = madd(forget, read(before + at, wide), cell);
      const state = f32x4.mul(o, activated(f, cell));
      write(gates + at, i, wide);
      write(gates + u + at, forget, wide);
      write(gates + 2 * u + at, candidate, wide);
      write(gates + 3 * u + at, o, wide);
      write(c + at, cell, wide);
      if (h) write(h + at, state, wide);
      if (next) write(next + at, state, wide);
      at += wide ? 16 : 4;
    }
    gates += stride(steps, 4 * units);
    if (before) before += stride(steps, units);
    c += stride(steps, units);
    if (h) h += stride(hSteps, units);
    if (next) next += stride(steps, units);
  }
}

// Its gradient. dh, dc: [batch, u], what the step behind gives; dc becomes what the step before gets. dy: [.., u] the gradient of
// this step's h from outside, null for none; coefficient h is MAN's part of it. gates, before, c: as lstmStep left them. d: [.., 4u]
// the gradient of the gates before their activation; it may be gates.
export function lstmStepBackprop(
  gates: usize, before: usize, c: usize, dy: usize, dySteps: i32, dh: usize, dc: usize, d: usize,
  batch: i32, steps: i32, units: i32, f: i32, g: i32, coefficient: f32,
): void {
  const u = <usize>units << 2;
  const penalty = f32x4.splat(coefficient);
  for (let b = 0; b < batch; b++) {
    for (let at: usize = 0; at < u; ) {
      const wide = at + 16 <= u;
      const i = read(gates + at, wide);
      const forget = read(gates + u + at, wide);
      const candidate = read(gates + 2 * u + at, wide);
      const o = read(gates + 3 * u + at, wide);
      const cell = activated(f, read(c + at, wide));
      let total = madd(penalty, f32x4.mul(o, cell), read(dh + at, wide));
      if (dy) total = f32x4.add(total, read(dy + at, wide));
      const inner = madd(f32x4.mul(total, o), derivative(f, cell, cell), read(dc + at, wide));
      const last = before ? read(before + at, wide) : f32x4.splat(0);
      write(d + at, f32x4.mul(f32x4.mul(inner, candidate), derivative(g, i, i)), wide);
      write(d + u + at, f32x4.mul(f32x4.mul(inner, last), derivative(g, forget, forget)), wide);
      write(d + 2 * u + at, f32x4.mul(f32x4.mul(inner, i), derivative(f, candidate, candidate)), wide);
      write(d + 3 * u + at, f32x4.mul(f32x4.mul(total, cell), derivative(g, o, o)), wide);
      write(dc + at, f32x4.mul(inner, forget), wide);
      at += wide ? 16 : 4;
    }
    gates += stride(steps, 4 * units);
    if (before) before += stride(steps, units);
    c += stride(steps, units);
    if (dy) dy += stride(dySteps, units);
    dh += u;
    dc += u;
    d += stride(steps, 4 * units);
  }
}

// GRU, first half: z and r of gates [.., 3u], z r n, and what n takes from the state. `hidden` [.., u]:
// with `bias` ([3u], the recurrent one) it holds h Un + cn and stays, and z, r get their parts of the bias:
//   z = g(z), r = g(r), n = f(n + r hidden), h = z before + (1 - z) n;
// without it, hidden becomes r before, whose product with Un the caller adds to n, and gruStep does the rest.
export function gruGates(
  gates: usize, bias: usize, before: usize, hidden: usize, batch: i32, steps: i32, units: i32, g: i32,
): void {
  const u = <usize>units << 2;
  for (let b = 0; b < batch; b++) {
    for (let at: usize = 0; at < u; ) {
      const wide = at + 16 <= u;
      let z = read(gates + at, wide), r = read(gates + u + at, wide);
      if (bias) {
        z = f32x4.add(z, read(bias + at, wide));
        r = f32x4.add(r, read(bias + u + at, wide));
      }
      r = activated(g, r);
      write(gates + at, activated(g, z), wide);
      write(gates + u + at, r, wide);
      if (bias) {
        const n = gates + 2 * u + at;
        write(n, madd(r, read(hidden + at, wide), read(n, wide)), wide);
      } else write(hidden + at, f32x4.mul(r, read(before + at, wide)), wide);
      at += wide ? 16 : 4;
    }
    gates += stride(steps, 3 * units);
    before += stride(steps, units);
    hidden += stride(steps, units);
  }
}

// GRU, second half: n = f(n); h = z before + (1 - z) n.
export function gruStep(
  gates: usize, before: usize, h: usize, hSteps: i32, next: usize, batch: i32, steps: i32, units: i32, f: i32,
): void {
  const u = <usize>units << 2;
  for (let b = 0; b < batch; b++) {
    for (let at: usize = 0; at < u; ) {
      const wide = at + 16 <= u;
      const z = read(gates + at, wide);
      const n = activated(f, read(gates + 2 * u + at, wide));
      const state = madd(z, f32x4.sub(read(before + at, wide), n), n);
      write(gates + 2 * u + at, n, wide);
      if (h) write(h + at, state, wide);
      if (next) write(next + at, state, wide);
      at += wide ? 16 : 4;
    }
    gates += stride(steps, 3 * units);
    before += stride(steps, units);
    if (h) h += stride(hSteps, units);
    if (next) next += stride(steps, units);
  }
}

// Gradient of gruStep, and of gruGates where hidden is h Un + cn (`after`). dh [batch, u]: what the
// step behind gives, becomes the part of the step before that comes through z. d [.., 3u]: gradients
// before the activations, of z and n (and r, with `after`); it may be gates. dhidden [.., u], with
// `after`: that of hidden; it may be hidden.
export function gruStepBackprop(
  gates: usize, before: usize, hidden: usize, dy: usize, dySteps: i32, dh: usize, d: usize, dhidden: usize,
  batch: i32, steps: i32, units: i32, f: i32, g: i32, after: i32, coefficient: f32,
): void {
  const u = <usize>units << 2;
  const penalty = f32x4.splat(coefficient);
  const unit = f32x4.splat(1);
  for (let b = 0; b < batch; b++) {
    for (let at: usize = 0; at < u; ) {
      const wide = at + 16 <= u;
      const z = read(gates + at, wide), r = read(gates + u + at, wide), n = read(gates + 2 * u + at, wide);
      const difference = f32x4.sub(read(before + at, wide), n);
      let total = madd(penalty, madd(z, difference, n), read(dh + at, wide));
      if (dy) total = f32x4.add(total, read(dy + at, wide));
      const dn = f32x4.mul(f32x4.mul(total, f32x4.sub(unit, z)), derivative(f, n, n));
      write(d + at, f32x4.mul(f32x4.mul(total, difference), derivative(g, z, z)), wide);
      if (after) {
        const recurrent = read(hidden + at, wide);
        write(d + u + at, f32x4.mul(f32x4.mul(dn, recurrent), derivative(g, r, r)), wide);
        write(dhidden + at, f32x4.mul(dn, r), wide);
      }
      write(d + 2 * u + at, dn, wide);
      write(dh + at, f32x4.mul(total, z), wide);
      at += wide ? 16 : 4;
    }
    gates += stride(steps, 3 * units);
    before += stride(steps, units);
    hidden += stride(steps, units);
    if (dy) dy += stride(dySteps, units);
    dh += u;
    d += stride(steps, 3 * units);
    dhidden += stride(steps, units);
  }
}

// Gradient of gruGates where hidden is r before: from dhidden [batch, u], d of r, and dh += r dhidden.
export function gruGatesBackprop(
  r: usize, before: usize, dhidden: usize, dh: usize, dr: usize, batch: i32, steps: i32, units: i32, g: i32,
): void {
  const u = <usize>units << 2;
  for (let b = 0; b < batch; b++) {
    for (let at: usize = 0; at < u; ) {
      const wide = at + 16 <= u;
      const gate = read(r + at, wide), own = read(dhidden + at, wide);
      write(dh + at, madd(gate, own, read(dh + at, wide)), wide);
      write(dr + at, f32x4.mul(f32x4.mul(own, read(before + at, wide)), derivative(g, gate, gate)), wide);
      at += wide ? 16 : 4;
    }
    r += stride(steps, 3 * units);
    before += stride(steps, units);
    dhidden += u;
    dh += u;
    dr += stride(steps, 3 * units);
  }
}
