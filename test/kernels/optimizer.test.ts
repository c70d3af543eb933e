import { describe, test } from "node:test";
import { assertClose, BUILDS, noise, openLab } from "./fixtures.js";

const TOLERANCE = 5e-7;

for (const build of BUILDS)
  describe(`optimizer, ${build}`, async () => {
    const lab = await openLab(build);
    const { kernels } = lab;

    test("the step and the norm it is clipped by, with and without proximal and linear terms, sizes 0 to 67", () => {
      for (let size = 0; size <= 67; size++)
        for (const [withCenter, withLinear] of [
          [0, 0],
          [0, 1],
          [1, 0],
          [1, 1],
        ]) {
          const [theta, g, center, linear] = [1, 2, 3, 4].map((seed) => noise(size, seed));
          const [proximal, clip, rate, decay] = [0.4, 0.7, 0.1, 0.01];
          const direction = Float64Array.from(
            g,
            (v, i) =>
              v +
              (withCenter ? proximal * (theta[i] - center[i]) : 0) +
              (withLinear ? linear[i] : 0),
          );
          const [inTheta, inG] = [lab.put(theta), lab.put(g)];
          const inCenter = withCenter ? lab.put(center).address : 0;
          const inLinear = withLinear ? lab.put(linear).address : 0;
          const norm = kernels.stepSquaredNorm(
            inG.address,
            inTheta.address,
            inCenter,
            inLinear,
            size,
            proximal,
          );
          assertClose(
            [norm],
            [direction.reduce((sum, d) => sum + d * d, 0)],
            TOLERANCE,
            `norm, size ${size}`,
          );
          kernels.step(
            inTheta.address,
            inG.address,
            inCenter,
            inLinear,
            size,
            proximal,
            clip,
            rate,
            decay,
          );
          assertClose(
            inTheta.read(),
            Float64Array.from(theta, (t, i) => t - rate * (clip * direction[i] + decay * t)),
            TOLERANCE,
            `step, size ${size}`,
          );
          lab.close();
        }
    });

    test("SAM's and ASAM's ascent, sizes 0 to 67", () => {
      for (let size = 0; size <= 67; size++) {
        const [theta, g] = [noise(size, 1), noise(size, 2)];
        const [inTheta, inG] = [lab.put(theta), lab.put(g)];
        const out = lab.room(size);
        kernels.samAscent(out.address, inTheta.address, inG.address, size, 0.3);
        assertClose(
          out.read(),
          Float64Array.from(theta, (t, i) => t + 0.3 * g[i]),
          TOLERANCE,
          "SAM",
        );
        // A negative eta: a bias, which is not scaled.
        for (const eta of [0.2, -1]) {
          const scale = (t: number) => (eta < 0 ? 1 : Math.abs(t) + eta);
          const norm = kernels.asamSquaredNorm(inTheta.address, inG.address, size, eta);
          assertClose(
            [norm],
            [g.reduce((sum, v, i) => sum + (scale(theta[i]) * v) ** 2, 0)],
            TOLERANCE,
            "norm",
          );
          kernels.asamAscent(out.address, inTheta.address, inG.address, size, 0.3, eta);
          assertClose(
            out.read(),
            Float64Array.from(theta, (t, i) => t + 0.3 * scale(t) ** 2 * g[i]),
            TOLERANCE,
            "ASAM",
          );
        }
        lab.close();
      }
    });
  });
