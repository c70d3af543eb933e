import assert from "node:assert/strict";
import { test } from "node:test";
import type { Part } from "../../runtime/data/dataset.js";
import { hessian, layersOf, wholeOf, type Block } from "../../runtime/flatness/hessian.js";
import { lanczos } from "../../runtime/flatness/lanczos.js";
import { lossSlice } from "../../runtime/flatness/slice.js";
import { trace } from "../../runtime/flatness/trace.js";
import { parseDescription } from "../../runtime/models/description.js";
import { initialWeights } from "../../runtime/models/initial.js";
import { networkOf } from "../../runtime/models/network.js";
import { random } from "../../runtime/tensors/random.js";
import { BUILDS, relativeError, trainerHere, vectorFrom, vectorsOf } from "../training/engines.js";

const within = (got: number, expected: number, share: number, what: string) =>
  assert.ok(
    Math.abs(got - expected) <= share * Math.abs(expected) + 1e-6,
    `${what}: expected ${expected} within ${100 * share} %, got ${got}`,
  );

function partOf(
  shape: readonly number[],
  inputs: Float32Array,
  labels: Int32Array,
  classes: number,
): Part {
  return {
    dataset: {
      shape,
      inputs,
      labels,
      classes: Array.from({ length: classes }, (_, i) => String(i)),
    },
    rows: Uint32Array.from(labels.keys()),
  };
}

for (const build of BUILDS)
  for (const { name, json, tensors } of vectorsOf("hessian", "objective")) {
    const { json: objective } = vectorsOf("objective").find((one) => one.name === name)!;
    test(`hessian-${name}, ${build} build: spectrum, blocks and trace of the reference, over uneven pieces`, async () => {
      const trainer = await trainerHere(build);
      const description = parseDescription(objective.model);
      const network = networkOf(description);
      const { layout } = network;
      const weights = vectorFrom(tensors, "param", layout);
      const x = Float32Array.from(tensors.get("x")!.data);
      const y = Int32Array.from(tensors.get("y")!.data);
      // Every example thirty times: the same Hessian, by pieces that begin and end inside a copy.
      const copies = 30;
      const part = partOf(
        description.input,
        Float32Array.from({ length: copies * x.length }, (_, i) => x[i % x.length]),
        Int32Array.from({ length: copies * y.length }, (_, i) => y[i % y.length]),
        network.classes,
      );
      const one: Part = { ...part, rows: part.rows.slice(0, y.length) };
      const model = { description, weights };
      const productsOf = hessian(trainer, model, one);
      const whole = wholeOf(layout);

      const piecewise = hessian(trainer, model, part)(whole);
      const v = new Float64Array(layout.size).map((_, i) => Math.sin(i));
      assert.ok(relativeError(await piecewise(v), await productsOf(whole)(v)) < 1e-5);

      const { values } = await lanczos(productsOf(whole), layout.size, {
        count: json.topEigenvalues.length,
        seed: 1,
        maxSteps: 200,
      });
      json.topEigenvalues.forEach((expected: number, i: number) =>
        within(values[i], expected, 0.01, `eigenvalue ${i}`),
      );
      for (const { name, offset, size } of layout.parameters) {
        const block = { name, offset, size };
        const top = await lanczos(productsOf(block), size, {
          count: 1,
          seed: 1,
        });
        const expected = json.blockTopEigenvalues[name];
        within(top.values[0], expected, 0.01, name);
      }

      const exact = await trace(productsOf(whole), layout.size, {
        probes: 0,
        seed: 1,
      });
      assert.equal(exact.standardError, 0);
      within(exact.value, json.trace, 0.01, "trace");
      const estimate = await trace(productsOf(whole), layout.size, {
        probes: 200,
        seed: 1,
        estimate: true,
      });
      assert.ok(estimate.standardError > 0);
      assert.ok(
        Math.abs(estimate.value - json.trace) <= 3 * estimate.standardError,
        `expected ${json.trace}, got ${estimate.value} ± ${estimate.standardError}`,
      );
      trainer.close();
    });
  }

type Matrix = number[][];

/** Largest eigenvalue of a positive semidefinite matrix, by the power method in float64. */
function largest(matrix: Matrix): number {
  let v = matrix.map((_, i) => 1 + i / matrix.length);
  let value = 0;
  for (let i = 0; i < 20000; i++) {
    const w = matrix.map((row) => row.reduce((sum, a, j) => sum + a * v[j], 0));
    value = Math.hypot(...w);
    v = w.map((x) => x / value);
  }
  return value;
}

/**
 * For one example the Hessian's block of a dense layer's kernel is (a a') kron (J' (diag p - p p')
 * J), a being the layer's input and J the Jacobian of the logits by its output before the ReLU. So
 * its top eigenvalue is |a|^2 times that of the second factor: smaller activations, flatter
 * minimum.
 */
test("one example: a dense layer's top eigenvalue is the squared norm of its input times that of the softmax behind it", async () => {
  const description = parseDescription({
    input: [6],
    layers: [
      { type: "dense", units: 8, activation: "relu" },
      { type: "dense", units: 7, activation: "relu" },
      { type: "dense", units: 4 },
    ],
  });
  const { layout } = networkOf(description);
  const weights = initialWeights({ ...networkOf(description) }, "oracle").map(
    (weight) => 2 * weight,
  );
  const chance = random("oracle");
  const inputs = Float32Array.from({ length: 6 }, () => chance.normal());

  const kernels: Matrix[] = [];
  const activations: number[][] = [[...inputs]];
  for (let l = 0; l < 3; l++) {
    const [kernel, bias] = layout.parameters.slice(2 * l, 2 * l + 2);
    const [rows, columns] = kernel.shape;
    const w = Array.from({ length: rows }, (_, i) =>
      Array.from({ length: columns }, (_, j) => weights[kernel.offset + i * columns + j]),
    );
    kernels.push(w);
    activations.push(
      Array.from({ length: columns }, (_, j) => {
        const z = w.reduce(
          (sum, row, i) => sum + row[j] * activations[l][i],
          weights[bias.offset + j],
        );
        return l < 2 ? Math.max(z, 0) : z;
      }),
    );
  }
  const powers = activations[3].map(Math.exp);
  const total = powers.reduce((a, b) => a + b);
  const p = powers.map((power) => power / total);
  let curvature: Matrix = p.map((pi, i) => p.map((pj, j) => (i === j ? pi : 0) - pi * pj));

  for (const build of BUILDS) {
    const trainer = await trainerHere(build);
    const part = partOf([6], inputs, Int32Array.of(2), 4);
    const productsOf = hessian(trainer, { description, weights }, part);
    let behind = curvature;
    for (let l = 2; l >= 0; l--) {
      if (l < 2) {
        // Through the next layer's kernel and this layer's ReLU: J' C J.
        const w = kernels[l + 1].map((row, i) =>
          row.map((x) => (activations[l + 1][i] > 0 ? x : 0)),
        );
        const inner = behind;
        behind = w.map((left) =>
          w.map((right) =>
            left.reduce(
              (sum, x, i) => sum + x * inner[i].reduce((s, c, j) => s + c * right[j], 0),
              0,
            ),
          ),
        );
      }
      const { name, offset, size } = layout.parameters[2 * l];
      const { values } = await lanczos(productsOf({ name, offset, size }), size, {
        count: 1,
        seed: 1,
        tolerance: 1e-6,
      });
      const squaredNorm = activations[l].reduce((sum, a) => sum + a * a, 0);
      within(values[0], squaredNorm * largest(behind), 1e-4, name);
    }
    trainer.close();
  }
});

test("a layer's block holds all parameters of the layer, and the blocks cover the layout", () => {
  const description = parseDescription({
    input: [8, 8, 3],
    layers: [
      { type: "conv2d", filters: 4, kernelSize: 3, activation: "relu" },
      { type: "groupNorm", groups: 2 },
      { type: "maxPool", size: 2 },
      { type: "flatten" },
      { type: "dense", units: 5 },
    ],
  });
  const { layout } = networkOf(description);
  const blocks = layersOf(description);
  assert.deepEqual(
    blocks.map(({ name }) => name),
    ["0.conv2d", "1.groupNorm", "4.dense"],
  );
  const ends = (block: Block) => block.offset + block.size;
  assert.deepEqual(
    blocks.map(({ offset }) => offset),
    [0, ends(blocks[0]), ends(blocks[1])],
  );
  assert.equal(ends(blocks[2]), layout.size);
});

test("the unit of a regression's targets changes neither its Hessian nor the loss around it", async () => {
  const trainer = await trainerHere("simd");
  const description = parseDescription({
    input: [3],
    layers: [
      { type: "dense", units: 4, activation: "tanh" },
      { type: "dense", units: 1 },
    ],
    loss: { type: "meanSquaredError" },
  });
  const { layout } = networkOf(description);
  const chance = random("targets");
  const weights = Float32Array.from({ length: layout.size }, () => chance.normal());
  const inputs = Float32Array.from({ length: 3 * 20 }, () => chance.normal());
  const numbers = Float32Array.from({ length: 20 }, () => chance.normal());
  const measured = async (unit: number) => {
    const dataset = {
      ...partOf([3], inputs, new Int32Array(20), 0).dataset,
      targets: { kind: "numbers" as const, size: 1, values: numbers.map((y) => unit * y) },
    };
    const part: Part = { dataset, rows: Uint32Array.from(numbers.keys()) };
    const targets = { mean: [0.25 * unit], deviation: [2 * unit] };
    const model = { description, weights, targets };
    const v = new Float64Array(layout.size).map((_, i) => Math.sin(i));
    const product = await hessian(trainer, model, part)(wholeOf(layout))(v);
    const { losses } = await lossSlice(trainer, model, part, { radius: 0.5, points: 3, seed: 1 });
    return [product, Float64Array.from(losses.flat())];
  };
  const [one, thousand] = [await measured(1), await measured(1024)];
  one.forEach((numbers, i) => assert.ok(relativeError(numbers, thousand[i]) < 1e-6));
});
