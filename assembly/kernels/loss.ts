import { high, low, max4, sum2 } from "../lanes/lanes";
import { exp } from "../lanes/exp";
import { log } from "../lanes/log";
import { dot } from "./vector";

// For each row z of logits [rows, classes] with label l (int32 [rows]), weight w_l (1 where weights is null), M = max z and S = sum
// over j of exp(z_j - M):
//   p_j = exp(z_j - M) / S;  loss = w_l (log S + M - z_l);  dlogits_j = scale w_l (p_j - [j = l]).
// probabilities and dlogits: like logits, each may be null; dlogits may be logits. weights: [classes]. Returns the sum of the losses.
// A row with the label -1 is left out: loss and gradient 0. Any other label outside [0, classes) makes the loss NaN.
export function softmaxCrossEntropy(
  logits: usize, labels: usize, weights: usize, dlogits: usize, probabilities: usize, rows: i32, classes: i32, scale: f32,
): f64 {
  const row = <usize>classes << 2;
  let total: f64 = 0;
  for (let example = 0; example < rows; example++) {
    const label = load<i32>(labels);
    const known = <u32>label < <u32>classes;
    const atLabel = <usize>label << 2;
    const weight: f32 = weights && known ? load<f32>(weights + atLabel) : 1;
    const largest = rowMax(logits, row);
    const own: f32 = known ? load<f32>(logits + atLabel) : NaN;
    // What is stored is each exponential, to be divided by their sum.
    const to = probabilities ? probabilities : dlogits;
    const sum = sumExp(logits, row, largest, to);
    if (label != -1) total += <f64>weight * (log(sum) + <f64>largest - <f64>own);
    if (dlogits) {
      if (label == -1) memory.fill(dlogits, 0, row);
      else scaled(to, dlogits, row, <f32>(<f64>(scale * weight) / sum));
      if (known) store<f32>(dlogits + atLabel, load<f32>(dlogits + atLabel) - scale * weight);
      dlogits += row;
    }
    if (probabilities) {
      scaled(probabilities, probabilities, row, <f32>(1 / sum));
      probabilities += row;
    }
    logits += row;
    labels += 4;
  }
  return total;
}

// probability[i] = exp(scale z[i] - M) / S for each row of z [rows, columns], in place; with `causal`, in squares of `columns` rows,
// only the columns up to the row's own place in its square count, the others become 0.
export function softmaxRows(z: usize, rows: i32, columns: i32, scale: f32, causal: i32): void {
  const row = <usize>columns << 2;
  for (let i = 0; i < rows; i++, z += row) {
    let width = row;
    if (causal) {
      width = <usize>(i % columns + 1) << 2;
      // Whole vectors, with nothing behind what counts.
      const rest = min(row, (width + 15) & ~15);
      for (let at = width; at < rest; at += 4) store<f32>(z + at, -Infinity);
      memory.fill(z + rest, 0, row - rest);
      width = rest;
    }
    scaled(z, z, width, scale);
    const sum = sumExp(z, width, rowMax(z, width), z);
    scaled(z, z, width, <f32>(1 / sum));
  }
}

// ds = p (dp - sum over the row of dp p) scale for each row of p [rows, columns]; ds may be dp.
export function softmaxRowsBackprop(p: usize, dp: usize, ds: usize, rows: i32, columns: i32, scale: f32): void {
  const row = <usize>columns << 2;
  for (let i = 0; i < rows; i++, p += row, dp += row, ds += row) {
    const mean = <f32>dot(p, dp, columns);
    const mean4 = f32x4.splat(mean), scale4 = f32x4.splat(scale);
    let at: usize = 0;
    for (; at + 16 <= row; at += 16)
      v128.store(ds + at, f32x4.mul(f32x4.mul(scale4, v128.load(p + at)), f32x4.sub(v128.load(dp + at), mean4)));
    for (; at < row; at += 4) store<f32>(ds + at, scale * load<f32>(p + at) * (load<f32>(dp + at) - mean));
  }
}

// loss = w_k y softplus(-z) + (1 - y) softplus(z), softplus(z) = log(1 + e^z); dz = scale (s(z) (w_k y + 1 - y) - w_k y). z, y, dz:
// [rows, columns] (dz may be null); weights: [columns], 1 where null. Returns the sum of the losses.
export function sigmoidCrossEntropy(z: usize, y: usize, weights: usize, dz: usize, rows: i32, columns: i32, scale: f32): f64 {
  let total: f64 = 0;
  for (let i = 0; i < rows; i++) {
    for (let k = 0; k < columns; k++, z += 4, y += 4) {
      const value = load<f32>(z), target = load<f32>(y);
      const positive = (weights ? load<f32>(weights + (<usize>k << 2)) : 1) * target;
      const e = <f64>f32x4.extract_lane(exp(f32x4.splat(-abs(value))), 0);
      const rest = log(1 + e);
      total += <f64>positive * (rest + <f64>max(-value, 0)) + <f64>(1 - target) * (rest + <f64>max(value, 0));
      if (dz) {
        const s = <f32>(value >= 0 ? 1 / (1 + e) : e / (1 + e));
        store<f32>(dz, scale * (s * (positive + 1 - target) - positive));
        dz += 4;
      }
    }
  }
  return total;
}

// With d = y - t: kind 0: d^2; kind 1: |d|; kind 2 (Huber): |d| <= delta ? d^2 / 2 : delta (|d| - delta / 2). dy = scale times the
// derivative (may be null). All of `size` floats. Returns the sum.
export function regressionLoss(kind: i32, y: usize, t: usize, dy: usize, size: i32, delta: f32, scale: f32): f64 {
  let total: f64 = 0;
  const end = y + (<usize>size << 2);
  for (; y < end; y += 4, t += 4) {
    const d = load<f32>(y) - load<f32>(t);
    const distance = abs(d);
    let slope: f32;
    if (kind == 0) {
      total += <f64>d * <f64>d;
      slope = 2 * d;
    } else if (kind == 1 || distance > delta) {
      const size: f32 = kind == 1 ? 1 : delta;
      total += kind == 1 ? <f64>distance : <f64>delta * (<f64>distance - 0.5 * <f64>delta);
      slope = d > 0 ? size : d < 0 ? -size : 0;
    } else {
      total += 0.5 * <f64>d * <f64>d;
      slope = d;
    }
    if (dy) {
      store<f32>(dy, scale * slope);
      dy += 4;
    }
  }
  return total;
}

function rowMax(z: usize, row: usize): f32 {
  let largest: f32 = load<f32>(z);
  let i: usize = 0;
  if (row >= 16) {
    let largest4 = v128.load(z);
    for (; i + 16 <= row; i += 16) largest4 = f32x4.pmax(largest4, v128.load(z + i));
    largest = max4(largest4);
  }
  for (; i < row; i += 4) largest = max(largest, load<f32>(z + i));
  return largest;
}

/** to = factor from; they may be the same. */
function scaled(from: usize, to: usize, row: usize, factor: f32): void {
  const factor4 = f32x4.splat(factor);
  let i: usize = 0;
  for (; i + 16 <= row; i += 16) v128.store(to + i, f32x4.mul(v128.load(from + i), factor4));
  for (; i < row; i += 4) store<f32>(to + i, load<f32>(from + i) * factor);
}

/** Sum of exp(z - largest); stores each term at `to` unless that is null. */
function sumExp(z: usize, row: usize, largest: f32, to: usize): f64 {
  const largest4 = f32x4.splat(largest);
  let s0 = f64x2.splat(0), s1 = f64x2.splat(0);
  let i: usize = 0;
  // Two vectors at a time share the constants.
  for (; i + 32 <= row; i += 32) {
    const first = exp(f32x4.sub(v128.load(z + i), largest4)), second = exp(f32x4.sub(v128.load(z + i, 16), largest4));
    if (to) {
      v128.store(to + i, first);
      v128.store(to + i, second, 16);
    }
    s0 = f64x2.add(f64x2.add(s0, low(first)), low(second));
    s1 = f64x2.add(f64x2.add(s1, high(first)), high(second));
  }
  for (; i + 16 <= row; i += 16) {
    const e = exp(f32x4.sub(v128.load(z + i), largest4));
    if (to) v128.store(to + i, e);
    s0 = f64x2.add(s0, low(e));
    s1 = f64x2.add(s1, high(e));
  }
  let sum = sum2(f64x2.add(s0, s1));
  for (; i < row; i += 4) {
    const e = f32x4.extract_lane(exp(f32x4.splat(load<f32>(z + i) - largest)), 0);
    if (to) store<f32>(to + i, e);
    sum += <f64>e;
  }
  return sum;
}

// How many rows of logits [batch, classes] have their largest element, the first if several are
// equal, at their label (int32 [batch]).
export function countCorrect(logits: usize, labels: usize, batch: i32, classes: i32): i32 {
  let correct = 0;
  for (let example = 0; example < batch; example++) {
    let best = 0;
    let largest = load<f32>(logits);
    for (let j = 1; j < classes; j++) {
      const value = load<f32>(logits + (<usize>j << 2));
      if (value > largest) {
        largest = value;
        best = j;
      }
    }
    if (best == load<i32>(labels)) correct++;
    logits += <usize>classes << 2;
    labels += 4;
  }
  return correct;
}
