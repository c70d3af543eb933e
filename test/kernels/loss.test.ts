import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { assertClose, BUILDS, noise, openLab } from "./fixtures.js";
import * as reference from "./reference.js";

const rows = (batch: number, classes: number) =>
  Int32Array.from({ length: batch }, (_, b) => (b * 7 + 1) % classes);

for (const build of BUILDS)
  describe(`loss, ${build}`, async () => {
    const lab = await openLab(build);
    const { kernels } = lab;

    test("softmax cross-entropy: 0 to 5 rows of 1 to 67 classes, probabilities and gradient", () => {
      for (let classes = 1; classes <= 67; classes++) {
        const batch = classes % 6;
        const logits = noise(batch * classes, classes).map((v) => 20 * v);
        const labels = rows(batch, classes);
        const expected = reference.softmaxCrossEntropy(logits, labels, classes);
        const [inLogits, inLabels] = [lab.put(logits), lab.put(labels)];
        const probabilities = lab.room(logits.length);
        const dlogits = lab.room(logits.length);
        const loss = kernels.softmaxCrossEntropy(
          inLogits.address,
          inLabels.address,
          0,
          dlogits.address,
          probabilities.address,
          batch,
          classes,
          0.25,
        );
        assertClose([loss], [expected.loss], 1e-6, `loss, ${classes} classes`);
        assertClose(probabilities.read(), expected.probabilities, 1e-6, "probabilities");
        const gradient = expected.probabilities.map(
          (p, i) => 0.25 * (p - (labels[Math.floor(i / classes)] === i % classes ? 1 : 0)),
        );
        assertClose(dlogits.read(), gradient, 1e-6, "dlogits");
        // Without its optional results, and with the gradient in place of the logits.
        const again = (to: number) =>
          kernels.softmaxCrossEntropy(
            inLogits.address,
            inLabels.address,
            0,
            to,
            0,
            batch,
            classes,
            0.25,
          );
        assert.equal(again(0), loss);
        assert.equal(again(inLogits.address), loss);
        assert.deepEqual(inLogits.read(), dlogits.read());
        lab.close();
      }
    });

    test("softmax cross-entropy at extremes: far apart, infinite, NaN, a label of no class", () => {
      const loss = (values: number[], label: number) => {
        const logits = lab.put(Float32Array.from(values));
        const labels = lab.put(Int32Array.of(label));
        const dlogits = lab.room(values.length);
        const result = kernels.softmaxCrossEntropy(
          logits.address,
          labels.address,
          0,
          dlogits.address,
          0,
          1,
          values.length,
          1,
        );
        const gradient = [...dlogits.read()];
        lab.close();
        return { result, gradient };
      };
      assert.deepEqual(loss([1000, -1000, 0, 0, -500], 0), {
        result: 0,
        gradient: [0, 0, 0, 0, 0],
      });
      assertClose([loss([1e4, -1e4], 1).result], [2e4], 1e-6, "wrong and sure");
      assert.equal(loss([0, -Infinity, 0, 0], 0).gradient[1], 0);
      assert.ok(Number.isNaN(loss([0, NaN, 0, 0, 1], 0).result));
      assert.ok(Number.isNaN(loss([0, 1, 2, 3, NaN], 0).result));
      assert.ok(Number.isNaN(loss([0, 1, 2], 3).result));
      assert.ok(Number.isNaN(loss([0, 1, 2], -2).result));
      assert.deepEqual(loss([0, 1, 2], -1), { result: 0, gradient: [0, 0, 0] });
    });

    test("exp is within 3e-7 relative where float32 is normal", () => {
      // Two classes, the first logit 0 at the label: probability of the second is exp(z) / (1 +
      // exp(z)).
      for (let z = -85; z <= 0; z += 0.37) {
        const logits = lab.put(Float32Array.of(0, z));
        const probabilities = lab.room(2);
        kernels.softmaxCrossEntropy(
          logits.address,
          lab.put(Int32Array.of(0)).address,
          0,
          0,
          probabilities.address,
          1,
          2,
          1,
        );
        const e = Math.exp(Math.fround(z));
        const expected = e / (1 + e);
        assert.ok(Math.abs(probabilities.read()[1] - expected) <= 3e-7 * expected, `exp(${z})`);
        lab.close();
      }
    });

    test("counts the rows whose first largest logit is at the label", () => {
      const logits = Float32Array.of(1, 3, 3, 5, 2, 1, 0, 0, 0);
      const count = (labels: number[]) =>
        kernels.countCorrect(
          lab.put(logits).address,
          lab.put(Int32Array.from(labels)).address,
          3,
          3,
        );
      assert.equal(count([1, 0, 0]), 3);
      assert.equal(count([2, 0, 1]), 1);
      lab.close();
    });
  });
