import { GELU, activated, derivative, gelu, geluDerivative, read, write } from "../lanes/activations";
import { madd } from "../lanes/lanes";

// Activations as passes of their own, by the numbers of lanes/activations.ts; ReLU alone is also
// part of other kernels. All vectors have `size` floats.

// y[i] = f(x[i]). x and y may be the same.
export function activate(kind: i32, x: usize, y: usize, size: i32): void {
  const end = x + (<usize>size << 2);
  // Two vectors at a time share the constants.
  if (kind == GELU)
    for (; x + 32 <= end; x += 32, y += 32) {
      const first = gelu(v128.load(x)), second = gelu(v128.load(x, 16));
      v128.store(y, first);
      v128.store(y, second, 16);
    }
  while (x < end) {
    const wide = x + 16 <= end;
    write(y, activated(kind, read(x, wide)), wide);
    const step: usize = wide ? 16 : 4;
    x += step;
    y += step;
  }
}

// dz[i] = f'(z[i]) (dy[i] + coefficient y[i]), MAN's gradient and the activation's in one pass. dy
// and dz may be the same; z is read by activations whose derivative does not follow from y.
export function activationBackprop(
  kind: i32, z: usize, y: usize, dy: usize, dz: usize, size: i32, coefficient: f32,
): void {
  const c = f32x4.splat(coefficient);
  const end = y + (<usize>size << 2);
  if (kind == GELU)
    for (; y + 32 <= end; z += 32, y += 32, dy += 32, dz += 32) {
      const first = geluDerivative(v128.load(z)), second = geluDerivative(v128.load(z, 16));
      v128.store(dz, f32x4.mul(first, madd(c, v128.load(y), v128.load(dy))));
      v128.store(dz, f32x4.mul(second, madd(c, v128.load(y, 16), v128.load(dy, 16))), 16);
    }
  while (y < end) {
    const wide = y + 16 <= end;
    const out = read(y, wide);
    const from = z ? read(z, wide) : out;
    write(dz, f32x4.mul(derivative(kind, from, out), madd(c, out, read(dy, wide))), wide);
    const step: usize = wide ? 16 : 4;
    if (z) z += step;
    y += step;
    dy += step;
    dz += step;
  }
}
