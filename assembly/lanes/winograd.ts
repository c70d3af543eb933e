import { positive, sum4 } from "./lanes";

// Winograd's minimal filtering on six points (Winograd 1980; Lavin and Gray 2016, arXiv:1509.09308): along one axis, `size` outputs of a
// filter with 7 - size taps, size = 2 or 4, from six inputs:
//   y = A^T ((G w) * (B^T d))        size products of 7 - size taps become 6 products.
// The points are 0, 1, -1, 1/2, -1/2 and infinity. Being linear in each argument, its gradients are the same maps transposed:
//   dd = B ((G w) * (A dy)),   dw = G^T ((B^T d) * (A dy)).
//
// Each map below takes vectors of `bytes` bytes (a multiple of 16), `fromStride` bytes apart, to vectors `toStride` bytes apart.

/** B^T: six inputs to six points. */
export function inputToPoints(from: usize, fromStride: usize, to: usize, toStride: usize, bytes: usize): void {
  const quarter = f32x4.splat(0.25), half = f32x4.splat(0.5), five = f32x4.splat(1.25);
  for (const end = from + bytes; from < end; from += 16, to += 16) {
    const d0 = v128.load(from), d1 = v128.load(from + fromStride), d2 = v128.load(from + 2 * fromStride);
    const d3 = v128.load(from + 3 * fromStride), d4 = v128.load(from + 4 * fromStride), d5 = v128.load(from + 5 * fromStride);
    v128.store(to, f32x4.add(f32x4.sub(f32x4.mul(quarter, d0), f32x4.mul(five, d2)), d4));
    const even = f32x4.sub(d4, f32x4.mul(quarter, d2)), odd = f32x4.sub(d3, f32x4.mul(quarter, d1));
    v128.store(to + toStride, f32x4.add(even, odd));
    v128.store(to + 2 * toStride, f32x4.sub(even, odd));
    const evenHalf = f32x4.sub(d4, d2), oddHalf = f32x4.mul(half, f32x4.sub(d3, d1));
    v128.store(to + 3 * toStride, f32x4.add(evenHalf, oddHalf));
    v128.store(to + 4 * toStride, f32x4.sub(evenHalf, oddHalf));
    v128.store(to + 5 * toStride, f32x4.add(f32x4.sub(f32x4.mul(quarter, d1), f32x4.mul(five, d3)), d5));
  }
}

/**
 * B: its transpose. From the end on, so that what it writes behind a vector that is not a multiple
 * of 16 bytes gives way to the next one.
 */
export function pointsToInput(from: usize, fromStride: usize, to: usize, toStride: usize, bytes: usize): void {
  const quarter = f32x4.splat(0.25), half = f32x4.splat(0.5), five = f32x4.splat(1.25);
  from += bytes;
  to += bytes;
  for (const end = from - bytes; from > end; ) {
    from -= 16;
    to -= 16;
    const m0 = v128.load(from), m1 = v128.load(from + fromStride), m2 = v128.load(from + 2 * fromStride);
    const m3 = v128.load(from + 3 * fromStride), m4 = v128.load(from + 4 * fromStride), m5 = v128.load(from + 5 * fromStride);
    const sum = f32x4.add(m1, m2), difference = f32x4.sub(m1, m2);
    const sumHalf = f32x4.add(m3, m4), differenceHalf = f32x4.mul(half, f32x4.sub(m3, m4));
    v128.store(to, f32x4.mul(quarter, m0));
    v128.store(to + toStride, f32x4.sub(f32x4.mul(quarter, f32x4.sub(m5, difference)), differenceHalf));
    v128.store(to + 2 * toStride, f32x4.sub(f32x4.sub(f32x4.mul(f32x4.splat(-1.25), m0), f32x4.mul(quarter, sum)), sumHalf));
    v128.store(to + 3 * toStride, f32x4.sub(f32x4.add(difference, differenceHalf), f32x4.mul(five, m5)));
    v128.store(to + 4 * toStride, f32x4.add(m0, f32x4.add(sum, sumHalf)));
    v128.store(to + 5 * toStride, m5);
  }
}

/** A^T: six points to `size` outputs. */
export function pointsToOutput(size: i32, from: usize, fromStride: usize, to: usize, toStride: usize, bytes: usize): void {
  const half = f32x4.splat(0.5), quarter = f32x4.splat(0.25), eighth = f32x4.splat(0.125);
  for (const end = from + bytes; from < end; from += 16, to += 16) {
    const m0 = v128.load(from), m1 = v128.load(from + fromStride), m2 = v128.load(from + 2 * fromStride);
    const m3 = v128.load(from + 3 * fromStride), m4 = v128.load(from + 4 * fromStride), m5 = v128.load(from + 5 * fromStride);
    const sum = f32x4.add(m1, m2), difference = f32x4.sub(m1, m2);
    const sumHalf = f32x4.add(m3, m4), differenceHalf = f32x4.sub(m3, m4);
    const second = f32x4.add(difference, f32x4.mul(half, differenceHalf));
    v128.store(to, f32x4.add(m0, f32x4.add(sum, sumHalf)));
    if (size == 2) v128.store(to + toStride, f32x4.add(second, m5));
    else {
      v128.store(to + toStride, second);
      v128.store(to + 2 * toStride, f32x4.add(sum, f32x4.mul(quarter, sumHalf)));
      v128.store(to + 3 * toStride, f32x4.add(f32x4.add(difference, f32x4.mul(eighth, differenceHalf)), m5));
    }
  }
}

/** A: its transpose. */
export function outputToPoints(size: i32, from: usize, fromStride: usize, to: usize, toStride: usize, bytes: usize): void {
  const half = f32x4.splat(0.5), quarter = f32x4.splat(0.25), eighth = f32x4.splat(0.125);
  for (const end = from + bytes; from < end; from += 16, to += 16) {
    const y0 = v128.load(from);
    let even = y0, odd = v128.load(from + fromStride);
    let evenHalf = y0, oddHalf = f32x4.mul(half, odd);
    let last = odd;
    if (size == 4) {
      const y2 = v128.load(from + 2 * fromStride);
      last = v128.load(from + 3 * fromStride);
      even = f32x4.add(even, y2);
      odd = f32x4.add(odd, last);
      evenHalf = f32x4.add(evenHalf, f32x4.mul(quarter, y2));
      oddHalf = f32x4.add(oddHalf, f32x4.mul(eighth, last));
    }
    v128.store(to, y0);
    v128.store(to + toStride, f32x4.add(even, odd));
    v128.store(to + 2 * toStride, f32x4.sub(even, odd));
    v128.store(to + 3 * toStride, f32x4.add(evenHalf, oddHalf));
    v128.store(to + 4 * toStride, f32x4.sub(evenHalf, oddHalf));
    v128.store(to + 5 * toStride, last);
  }
}

/** G: 7 - size taps to six points. */
export function filterToPoints(size: i32, from: usize, fromStride: usize, to: usize, toStride: usize, bytes: usize): void {
  const half = f32x4.splat(0.5), quarter = f32x4.splat(0.25);
  const scale = f32x4.splat(2.0 / 3.0), scaleHalf = f32x4.splat(-8.0 / 3.0);
  for (const end = from + bytes; from < end; from += 16, to += 16) {
    const w0 = v128.load(from), w1 = v128.load(from + fromStride), w2 = v128.load(from + 2 * fromStride);
    let even = f32x4.add(w0, w2), odd = w1;
    let evenHalf = f32x4.add(w0, f32x4.mul(quarter, w2)), oddHalf = f32x4.mul(half, w1);
    let last = w2;
    if (size == 2) {
      const w3 = v128.load(from + 3 * fromStride);
      last = v128.load(from + 4 * fromStride);
      even = f32x4.add(even, last);
      odd = f32x4.add(odd, w3);
      evenHalf = f32x4.add(evenHalf, f32x4.mul(f32x4.splat(0.0625), last));
      oddHalf = f32x4.add(oddHalf, f32x4.mul(f32x4.splat(0.125), w3));
    }
    v128.store(to, f32x4.mul(f32x4.splat(4), w0));
    v128.store(to + toStride, f32x4.mul(scale, f32x4.add(even, odd)));
    v128.store(to + 2 * toStride, f32x4.mul(scale, f32x4.sub(even, odd)));
    v128.store(to + 3 * toStride, f32x4.mul(scaleHalf, f32x4.add(evenHalf, oddHalf)));
    v128.store(to + 4 * toStride, f32x4.mul(scaleHalf, f32x4.sub(evenHalf, oddHalf)));
    v128.store(to + 5 * toStride, last);
  }
}

/** G^T: its transpose. */
export function pointsToFilter(size: i32, from: usize, fromStride: usize, to: usize, toStride: usize, bytes: usize): void {
  const half = f32x4.splat(0.5), quarter = f32x4.splat(0.25);
  const scale = f32x4.splat(2.0 / 3.0), scaleHalf = f32x4.splat(-8.0 / 3.0);
  for (const end = from + bytes; from < end; from += 16, to += 16) {
    const q0 = v128.load(from), q1 = v128.load(from + fromStride), q2 = v128.load(from + 2 * fromStride);
    const q3 = v128.load(from + 3 * fromStride), q4 = v128.load(from + 4 * fromStride), q5 = v128.load(from + 5 * fromStride);
    const sum = f32x4.mul(scale, f32x4.add(q1, q2)), difference = f32x4.mul(scale, f32x4.sub(q1, q2));
    const sumHalf = f32x4.mul(scaleHalf, f32x4.add(q3, q4)), differenceHalf = f32x4.mul(scaleHalf, f32x4.sub(q3, q4));
    const third = f32x4.add(sum, f32x4.mul(quarter, sumHalf));
    v128.store(to, f32x4.add(f32x4.mul(f32x4.splat(4), q0), f32x4.add(sum, sumHalf)));
    v128.store(to + toStride, f32x4.add(difference, f32x4.mul(half, differenceHalf)));
    if (size == 4) v128.store(to + 2 * toStride, f32x4.add(third, q5));
    else {
      v128.store(to + 2 * toStride, third);
      v128.store(to + 3 * toStride, f32x4.add(difference, f32x4.mul(f32x4.splat(0.125), differenceHalf)));
      v128.store(to + 4 * toStride, f32x4.add(f32x4.add(sum, f32x4.mul(f32x4.splat(0.0625), sumHalf)), q5));
    }
  }
}

/** One pixel of y, `bytes` bytes of it: adds the bias, applies ReLU; the sum of its squares. */
export function finish(from: usize, bias: usize, to: usize, bytes: usize, relu: i32, norm: i32): f64 {
  let sum = f32x4.splat(0);
  for (const end = from + bytes; from < end; from += 16, to += 16) {
    let value = v128.load(from);
    if (bias) {
      value = f32x4.add(value, v128.load(bias));
      bias += 16;
    }
    if (relu) value = positive(value);
    sum = f32x4.add(sum, f32x4.mul(value, value));
    v128.store(to, value);
  }
  return norm ? sum4(sum) : 0;
}
