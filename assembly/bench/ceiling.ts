import { madd, sum4 } from "../lanes/lanes";

// The most that this build can do on this machine: multiply-adds on registers alone, c[i] = c[i] x
// + y, in twelve chains, which hide the latency of a multiplication and an addition. One iteration
// is 12 multiply-adds of 4 lanes: 96 operations.
//
// x and y depend on the argument, or the compiler would load them again for every use.
export function ceiling(iterations: i32): f64 {
  const x = f32x4.splat(<f32>iterations * 1e-9);
  const y = f32x4.add(x, x);
  let c0 = y, c1 = f32x4.add(c0, x), c2 = f32x4.add(c1, x), c3 = f32x4.add(c2, x);
  let c4 = f32x4.add(c3, x), c5 = f32x4.add(c4, x), c6 = f32x4.add(c5, x), c7 = f32x4.add(c6, x);
  let c8 = f32x4.add(c7, x), c9 = f32x4.add(c8, x), c10 = f32x4.add(c9, x), c11 = f32x4.add(c10, x);
  for (let i = 0; i < iterations; i++) {
    c0 = madd(c0, x, y);
    c1 = madd(c1, x, y);
    c2 = madd(c2, x, y);
    c3 = madd(c3, x, y);
    c4 = madd(c4, x, y);
    c5 = madd(c5, x, y);
    c6 = madd(c6, x, y);
    c7 = madd(c7, x, y);
    c8 = madd(c8, x, y);
    c9 = madd(c9, x, y);
    c10 = madd(c10, x, y);
    c11 = madd(c11, x, y);
  }
  c0 = f32x4.add(f32x4.add(c0, c1), f32x4.add(c2, c3));
  c4 = f32x4.add(f32x4.add(c4, c5), f32x4.add(c6, c7));
  c8 = f32x4.add(f32x4.add(c8, c9), f32x4.add(c10, c11));
  return sum4(f32x4.add(c0, f32x4.add(c4, c8)));
}
