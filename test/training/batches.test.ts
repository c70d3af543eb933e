import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { random } from "../../runtime/tensors/random.js";
import { networkOf } from "../../runtime/models/network.js";
import { augment, batchesOf, holdOut } from "../../runtime/training/batches.js";
import { loaderOf } from "../../runtime/training/loading.js";
import { compile } from "../../runtime/training/plan.js";
import { BUILDS, openKernels } from "./engines.js";

const rowsTo = (count: number) => Uint32Array.from({ length: count }, (_, i) => i);
const partOf = (rows: Uint32Array) => ({
  dataset: {
    shape: [1],
    inputs: new Float32Array(),
    labels: new Int32Array(),
    classes: [],
  },
  rows,
});

test("batches hold every row once, in order, the last one short", () => {
  fc.assert(
    fc.property(fc.nat(200), fc.integer({ min: 1, max: 60 }), (count, size) => {
      const batches = [...batchesOf(rowsTo(count), size)];
      assert.deepEqual(
        batches.flatMap((batch) => [...batch]),
        [...rowsTo(count)],
      );
      assert.equal(batches.length, Math.ceil(count / size));
      for (const batch of batches.slice(0, -1)) assert.equal(batch.length, size);
    }),
  );
});

test("the hold-out and the rest make the whole, each row on one side, none empty", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 2, max: 300 }),
      fc.double({ min: 0.01, max: 0.9, noNaN: true }),
      fc.string(),
      (count, share, seed) => {
        const { train, test } = holdOut(partOf(rowsTo(count)), share, seed);
        assert.ok(train.rows.length > 0 && test.rows.length > 0);
        const all = Uint32Array.from([...train.rows, ...test.rows]).sort();
        assert.deepEqual(all, rowsTo(count));
      },
    ),
  );
  const { train, test } = holdOut(partOf(rowsTo(20_000)), 0.1, "seed");
  assert.ok(Math.abs(test.rows.length - 2000) < 150, `${test.rows.length}`);
  assert.equal(train.rows.length + test.rows.length, 20_000);
});

test("a row once held out stays so when the data grow, and depends on the seed", () => {
  const small = holdOut(partOf(rowsTo(500)), 0.1, "seed").test.rows;
  const grown = holdOut(partOf(rowsTo(900)), 0.1, "seed").test.rows;
  assert.deepEqual(
    grown.filter((row) => row < 500),
    small,
  );
  assert.notDeepEqual(holdOut(partOf(rowsTo(500)), 0.1, "b").test.rows, small);
});

test("nothing is held out of one row, or for a share of zero", () => {
  assert.equal(holdOut(partOf(rowsTo(1)), 0.5, "").test.rows.length, 0);
  assert.equal(holdOut(partOf(rowsTo(9)), 0, "").test.rows.length, 0);
});

for (const build of BUILDS)
  test(`rows and labels are loaded, normalised, bytes as well as floats, ${build} build`, async () => {
    const { kernels, heap } = await openKernels(build);
    const chance = random("load");
    const shape = [2, 3, 2];
    const network = networkOf({
      input: shape,
      layers: [{ type: "flatten" }, { type: "dense", units: 4 }],
    });
    const plan = compile(network, 5, kernels, heap, "predict");
    const bytes = Uint8Array.from({ length: 5 * 12 }, () => chance.integer(256));
    const labels = Int32Array.of(1, 0, 3, 2, 1);
    const rows = Uint32Array.of(3, 0, 3);
    for (const [mean, deviation] of [
      [
        [0.4, 0.6],
        [0.2, 0.3],
      ],
      [[0.5], [0.25]],
    ]) {
      const expected = [...rows].flatMap((row) =>
        Array.from(
          bytes.subarray(row * 12, row * 12 + 12),
          (value, i) => (value / 255 - mean[i % mean.length]) / deviation[i % deviation.length],
        ),
      );
      for (const inputs of [bytes, Buffer.from(bytes), Float32Array.from(bytes)]) {
        plan.inputs().fill(9);
        const normalisation = { scale: 255, mean, deviation };
        const target = loaderOf(plan, { inputs, labels }, { normalisation })(rows);
        expected.forEach((value, i) => assert.ok(Math.abs(target[i] - value) < 2e-6));
        assert.ok(target.subarray(36).every((value) => value === 9));
        assert.deepEqual([...plan.labels().subarray(0, 3)], [2, 1, 2]);
      }
    }
    const plain = loaderOf(plan, { inputs: bytes }, {})(rows);
    assert.deepEqual([...plain.subarray(12, 24)], [...bytes.subarray(0, 12)]);
  });

test("an augmented image is its own mirror image, shifted, with zeros where nothing was", () => {
  const [height, width, channels] = [5, 4, 2];
  const size = height * width * channels;
  const count = 400;
  const images = Float32Array.from({ length: count * size }, (_, i) => 1 + i);
  const changed = images.slice();
  augment(changed, count, [height, width, channels], { flip: true, crop: 2 }, random("augment"));
  const shifts = new Map<string, number>();
  for (let n = 0; n < count; n++) {
    const pixel = (array: Float32Array, y: number, x: number, c: number) =>
      y < 0 || y >= height || x < 0 || x >= width
        ? 0
        : array[n * size + (y * width + x) * channels + c];
    const fits = [false, true].flatMap((mirrored) =>
      [-2, -1, 0, 1, 2].flatMap((down) =>
        [-2, -1, 0, 1, 2]
          .filter((right) => {
            for (let y = 0; y < height; y++)
              for (let x = 0; x < width; x++)
                for (let c = 0; c < channels; c++) {
                  const from = mirrored ? width - 1 - (x + right) : x + right;
                  if (pixel(changed, y, x, c) !== pixel(images, y + down, from, c)) return false;
                }
            return true;
          })
          .map((right) => `${mirrored} ${down} ${right}`),
      ),
    );
    assert.equal(fits.length, 1, `image ${n}`);
    shifts.set(fits[0], (shifts.get(fits[0]) ?? 0) + 1);
  }
  // Not mirrored and not shifted: a half, times a half and the one in 25 crops that is none.
  const untouched = shifts.get("false 0 0") ?? 0;
  assert.ok(Math.abs(untouched / count - 0.26) < 0.07, `${untouched}`);
  const unchanged = images.slice();
  augment(unchanged, count, [height, width, channels], { flip: false, crop: 0 }, random(1));
  assert.deepEqual(unchanged, images);
});
