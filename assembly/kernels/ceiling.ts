import { madd, sum4 } from "../lanes/lanes";

// The most that this build can do on this machine: the multiply-adds of a 4 x 8 register tile, c[i][j] += a[i] b[j], on registers alone.
// One iteration is 8 vector multiply-adds of 4 lanes, 64 operations.
export function ceiling(iterations: i32): f64 {
  const a0 = f32x4.splat(1e-9), a1 = f32x4.splat(2e-9), a2 = f32x4.splat(3e-9), a3 = f32x4.splat(4e-9);
  const b0 = f32x4.splat(5e-9), b1 = f32x4.splat(6e-9);
  let c00 = f32x4.splat(0), c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00, c30 = c00, c31 = c00;
  for (let i = 0; i < iterations; i++) {
    c00 = madd(a0, b0, c00);
    c01 = madd(a0, b1, c01);
    c10 = madd(a1, b0, c10);
    c11 = madd(a1, b1, c11);
    c20 = madd(a2, b0, c20);
    c21 = madd(a2, b1, c21);
    c30 = madd(a3, b0, c30);
    c31 = madd(a3, b1, c31);
  }
  return sum4(f32x4.add(f32x4.add(f32x4.add(c00, c01), f32x4.add(c10, c11)), f32x4.add(f32x4.add(c20, c21), f32x4.add(c30, c31))));
}
