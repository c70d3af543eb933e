import { high, low, max4, sum2 } from "../lanes/lanes";
import { exp } from "../lanes/exp";
import { log } from "../lanes/log";

// For each row z of logits [batch, classes] with label l (int32 [batch]), M = max z and S = sum over j of exp(z_j - M):
//   p_j = exp(z_j - M) / S;  loss = log S + M - z_l;  dlogits_j = scale (p_j - [j = l]).
// probabilities and dlogits: like logits, each may be null; dlogits may be logits. Returns the sum of the losses over the batch.
// A label outside [0, classes) makes the loss NaN.
export function softmaxCrossEntropy(
  logits: usize, labels: usize, dlogits: usize, probabilities: usize, batch: i32, classes: i32, scale: f32,
): f64 {
  const row = <usize>classes << 2;
  let total: f64 = 0;
  for (let example = 0; example < batch; example++) {
    const label = load<i32>(labels);
    const known = <u32>label < <u32>classes;
    const atLabel = <usize>label << 2;
    const largest = rowMax(logits, row);
    const own: f32 = known ? load<f32>(logits + atLabel) : NaN;
    const sum = sumExp(logits, row, largest, 0, 0);
    total += log(sum) + <f64>largest - <f64>own;
    if (probabilities) sumExp(logits, row, largest, probabilities, <f32>(1 / sum));
    if (dlogits) {
      sumExp(logits, row, largest, dlogits, <f32>(<f64>scale / sum));
      if (known) store<f32>(dlogits + atLabel, load<f32>(dlogits + atLabel) - scale);
      dlogits += row;
    }
    if (probabilities) probabilities += row;
    logits += row;
    labels += 4;
  }
  return total;
}

function rowMax(z: usize, row: usize): f32 {
  let largest: f32 = load<f32>(z);
  let i: usize = 0;
  if (row >= 16) {
    let largest4 = v128.load(z);
    for (; i + 16 <= row; i += 16) largest4 = f32x4.max(largest4, v128.load(z + i));
    largest = max4(largest4);
  }
  for (; i < row; i += 4) largest = max(largest, load<f32>(z + i));
  return largest;
}

/** Sum of exp(z - largest); stores `factor` times each term at `to` unless that is null. */
function sumExp(z: usize, row: usize, largest: f32, to: usize, factor: f32): f64 {
  const largest4 = f32x4.splat(largest);
  const factor4 = f32x4.splat(factor);
  let s0 = f64x2.splat(0), s1 = f64x2.splat(0);
  let i: usize = 0;
  for (; i + 16 <= row; i += 16) {
    const e = exp(f32x4.sub(v128.load(z + i), largest4));
    if (to) v128.store(to + i, f32x4.mul(e, factor4));
    s0 = f64x2.add(s0, low(e));
    s1 = f64x2.add(s1, high(e));
  }
  let sum = sum2(f64x2.add(s0, s1));
  for (; i < row; i += 4) {
    const e = f32x4.extract_lane(exp(f32x4.splat(load<f32>(z + i) - largest)), 0);
    if (to) store<f32>(to + i, e * factor);
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
