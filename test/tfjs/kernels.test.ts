import assert from "node:assert/strict";
import { before, test } from "node:test";
import "@tensorflow/tfjs-backend-cpu";
import * as tf from "@tensorflow/tfjs-core";
import { kernelsReady } from "../../runtime/kernels/index.js";
import { checkedBackend } from "../../runtime/wasm/tfjs-check.js";
import { registerGradients } from "./gradients.js";

before(async () => {
  await registerGradients();
  await kernelsReady();
});

/**
 * Numbers in [-1, 1) that are the same on every run; few enough values that ties happen in pools.
 */
function numbers(shape: readonly number[], seed: number): tf.Tensor {
  const size = shape.reduce((product, length) => product * length, 1);
  let state = seed;
  const values = Float32Array.from({ length: size }, () => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return ((state >>> 16) % 64) / 32 - 1;
  });
  return tf.tensor(values, [...shape]);
}

type Op = (...inputs: tf.Tensor[]) => tf.Tensor;

/**
 * What `op` and its gradients come to on one of tfjs's backends, for a loss that weighs each output
 * differently.
 */
async function resultsOn(
  backend: string,
  op: Op,
  shapes: readonly (readonly number[])[],
): Promise<Float32Array[]> {
  await tf.setBackend(backend);
  return tf.tidy(() => {
    const inputs = shapes.map((shape, i) => numbers(shape, i + 1));
    const loss: Op = (...args) => {
      const y = op(...args);
      return tf.sum(tf.mul(y, numbers(y.shape, 99)));
    };
    return [op(...inputs), ...tf.grads(loss)(inputs)].map(
      (tensor) => tensor.dataSync() as Float32Array,
    );
  });
}

function assertClose(actual: Float32Array, expected: Float32Array, label: string): void {
  assert.equal(actual.length, expected.length, label);
  const size = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 1);
  expected.forEach((x, i) =>
    assert.ok(
      Math.abs(actual[i] - x) <= 1e-5 * size,
      `${label}[${i}]: expected ${x}, got ${actual[i]}`,
    ),
  );
}

async function assertAsOnCpu(
  label: string,
  op: Op,
  ...shapes: (readonly number[])[]
): Promise<void> {
  const expected = await resultsOn("cpu", op, shapes);
  const actual = await resultsOn("wasm", op, shapes);
  expected.forEach((values, i) =>
    assertClose(actual[i], values, `${label} ${i ? `gradient ${i}` : "y"}`),
  );
}

const image = (x: tf.Tensor) => x as tf.Tensor4D;

test("conv2d: values and gradients are those of tfjs's cpu backend", async () => {
  const cases: [number[], number[], [number, number]][] = [
    [
      [1, 5, 5, 1],
      [3, 3, 1, 1],
      [1, 1],
    ],
    [
      [2, 7, 6, 3],
      [3, 3, 3, 5],
      [1, 1],
    ],
    [
      [3, 9, 8, 4],
      [5, 5, 4, 9],
      [1, 1],
    ],
    [
      [2, 11, 7, 2],
      [3, 2, 2, 16],
      [2, 1],
    ],
    [
      [1, 13, 13, 5],
      [4, 3, 5, 7],
      [2, 3],
    ],
    [
      [2, 6, 6, 17],
      [1, 1, 17, 33],
      [1, 1],
    ],
    [
      [2, 6, 6, 3],
      [2, 2, 3, 4],
      [3, 3],
    ],
    [
      [5, 4, 4, 3],
      [4, 4, 3, 6],
      [1, 1],
    ],
  ];
  for (const [x, filter, strides] of cases)
    for (const pad of ["valid", "same", 1] as const)
      await assertAsOnCpu(
        `conv2d [${x}] by [${filter}], strides ${strides}, ${pad}`,
        (x, filter) =>
          tf.conv2d(
            image(x),
            image(filter),
            strides,
            pad,
            "NHWC",
            1,
            pad === 1 ? "floor" : undefined,
          ),
        x,
        filter,
      );
});

test("conv1d: values and gradients are those of tfjs's cpu backend", async () => {
  for (const [length, inChannels, width, outChannels, stride] of [
    [9, 1, 3, 1, 1],
    [128, 9, 5, 64, 1],
    [31, 3, 4, 5, 2],
  ])
    for (const pad of ["valid", "same"] as const)
      await assertAsOnCpu(
        `conv1d ${length}x${inChannels} by ${width}x${outChannels}, stride ${stride}, ${pad}`,
        (x, filter) => tf.conv1d(x as tf.Tensor3D, filter as tf.Tensor3D, stride, pad),
        [2, length, inChannels],
        [width, inChannels, outChannels],
      );
});

test("conv2dTranspose: values and gradients are those of tfjs's cpu backend", async () => {
  await assertAsOnCpu(
    "conv2dTranspose",
    (x, filter) => tf.conv2dTranspose(image(x), image(filter), [2, 9, 9, 3], 2, "same"),
    [2, 5, 5, 4],
    [3, 3, 3, 4],
  );
});

test("depthwiseConv2d: values and gradients are those of tfjs's cpu backend", async () => {
  for (const [channels, multiplier, height, width, stride] of [
    [1, 1, 3, 3, 1],
    [4, 1, 3, 3, 1],
    [5, 2, 3, 2, 1],
    [3, 3, 5, 5, 2],
    [8, 1, 2, 2, 2],
  ])
    for (const pad of ["valid", "same"] as const)
      await assertAsOnCpu(
        `depthwiseConv2d ${channels} channels times ${multiplier}, ${height}x${width}, stride ${stride}, ${pad}`,
        (x, filter) => tf.depthwiseConv2d(image(x), image(filter), stride, pad),
        [2, 8, 7, channels],
        [height, width, channels, multiplier],
      );
});

test("convolutions whose window, stride and padding differ from side to side are right in value and gradient", async () => {
  for (const [filter, strides] of [
    [
      [5, 2],
      [3, 3],
    ],
    [
      [1, 4],
      [2, 1],
    ],
    [
      [1, 4],
      [2, 2],
    ],
    [
      [3, 3],
      [2, 1],
    ],
    [
      [2, 3],
      [1, 3],
    ],
  ] as const)
    for (const channels of [1, 3, 4])
      for (const pad of ["same", "valid", 1] as const) {
        const rounding = pad === 1 ? "floor" : undefined;
        const name = `[${filter}] of ${channels} channels, strides ${strides}, ${pad}`;
        const both = [...strides] as [number, number];
        await assertAsOnCpu(
          `depthwiseConv2d ${name}`,
          (x, filter) =>
            tf.depthwiseConv2d(image(x), image(filter), both, pad, "NHWC", 1, rounding),
          [1, 7, 9, channels],
          [...filter, channels, 2],
        );
        await assertAsOnCpu(
          `conv2d ${name}`,
          (x, filter) => tf.conv2d(image(x), image(filter), both, pad, "NHWC", 1, rounding),
          [1, 7, 9, channels],
          [...filter, channels, 2],
        );
      }
});

test("a padding given as a number writes nowhere but into the output, or is refused by name", async () => {
  await tf.setBackend("wasm");
  const runs = [
    (x: tf.Tensor4D, w: tf.Tensor4D) => tf.depthwiseConv2d(x, w, [2, 1], 1),
    (x: tf.Tensor4D, w: tf.Tensor4D) => tf.conv2d(x, w, [2, 1], 1),
    (x: tf.Tensor4D, filter: tf.Tensor4D) =>
      tf.fused.depthwiseConv2d({ x, filter, strides: [2, 1], pad: 1, activation: "relu6" }),
    (x: tf.Tensor4D, filter: tf.Tensor4D) =>
      tf.fused.conv2d({ x, filter, strides: [2, 1], pad: 1, activation: "elu" }),
  ];
  for (let i = 0; i < 20; i++)
    for (const channels of [1, 3, 4, 7])
      for (const run of runs)
        tf.tidy(() =>
          run(
            image(numbers([2, 7, 9, channels], i)),
            image(numbers([3, 3, channels, 2], i)),
          ).dataSync(),
        );
  assert.deepEqual([...tf.ones([3]).dataSync()], [1, 1, 1]);
  // Dilated ones are tfjs's own, which would write 9 x 5 outputs into a tensor of 9 x 9.
  const [x, filter] = [image(numbers([1, 9, 9, 2], 1)), image(numbers([1, 3, 2, 2], 2))];
  for (const [name, run] of [
    ["Conv2D", () => tf.conv2d(x, filter, 1, 0, "NHWC", [1, 2])],
    ["DepthwiseConv2dNative", () => tf.depthwiseConv2d(x, filter, 1, 0, "NHWC", [1, 2])],
    ["FusedConv2D", () => tf.fused.conv2d({ x, filter, strides: 1, pad: 0, dilations: [1, 2] })],
    [
      "FusedDepthwiseConv2D",
      () => tf.fused.depthwiseConv2d({ x, filter, strides: 1, pad: 0, dilations: [1, 2] }),
    ],
  ] as const)
    assert.throws(run, {
      name: "RangeError",
      message: `"${name}.pad" expected a padding for which tfjs's own kernel counts as many outputs as tfjs, got 0`,
    });
});

test("separableConv2d: values and gradients are those of tfjs's cpu backend", async () => {
  await assertAsOnCpu(
    "separableConv2d",
    (x, depthwise, pointwise) =>
      tf.separableConv2d(image(x), image(depthwise), image(pointwise), 1, "same"),
    [2, 6, 6, 3],
    [3, 3, 3, 2],
    [1, 1, 6, 4],
  );
});

test("gather: values and gradients are those of tfjs's cpu backend", async () => {
  const indices = [4, 0, 4, 2, 2, 2, 1];
  for (const [axis, shape] of [
    [0, [5]],
    [0, [5, 3]],
    [1, [2, 5, 4]],
    [2, [3, 2, 6]],
  ] as const)
    await assertAsOnCpu(
      `gather along ${axis} of [${shape}]`,
      (x) => tf.gather(x, tf.tensor1d(indices, "int32"), axis),
      shape,
    );
});

test("unsortedSegmentSum leaves out rows without a segment", async () => {
  await tf.setBackend("wasm");
  const sum = tf.unsortedSegmentSum(
    tf.tensor2d([1, 2, 3, 4, 5, 6, 7, 8], [4, 2]),
    tf.tensor1d([2, -1, 2, 9], "int32"),
    3,
  );
  assert.deepEqual(sum.arraySync(), [
    [0, 0],
    [0, 0],
    [6, 8],
  ]);
});

test("matMul: values and gradients in all transposes and broadcasts are those of tfjs's cpu backend", async () => {
  for (const transposeA of [false, true])
    for (const transposeB of [false, true])
      for (const [m, n, k, aBatch, bBatch] of [
        [1, 1, 1, [], []],
        [5, 9, 3, [], []],
        [33, 17, 65, [], []],
        [4, 3, 2, [3], [3]],
        [4, 3, 2, [2, 3], [2, 3]],
      ] as const)
        await assertAsOnCpu(
          `matMul ${m}x${n}x${k}, ${transposeA}, ${transposeB}, [${aBatch}] by [${bBatch}]`,
          (a, b) => tf.matMul(a, b, transposeA, transposeB),
          [...aBatch, ...(transposeA ? [k, m] : [m, k])],
          [...bBatch, ...(transposeB ? [n, k] : [k, n])],
        );
});

test("matMul repeats matrices along dimensions of length 1", async () => {
  await tf.setBackend("wasm");
  const a = numbers([2, 1, 4, 3], 1);
  const b = numbers([1, 3, 3, 2], 2);
  const expected = tf.matMul(tf.tile(a, [1, 3, 1, 1]), tf.tile(b, [2, 1, 1, 1]));
  assertClose(
    tf.matMul(a, b).dataSync() as Float32Array,
    expected.dataSync() as Float32Array,
    "matMul",
  );
});

test("maxPool and avgPool: gradients are those of tfjs's cpu backend, also where elements are equal", async () => {
  for (const [size, stride, pad] of [
    [2, 2, "valid"],
    [2, 2, "same"],
    [3, 2, "same"],
    [3, 1, "valid"],
  ] as const)
    for (const pool of ["maxPool", "avgPool"] as const)
      await assertAsOnCpu(
        `${pool} ${size}, stride ${stride}, ${pad}`,
        (x) => tf[pool](image(x), size, stride, pad),
        [2, 7, 7, 5],
      );
});

test("fused kernels: values and gradients with bias and activation are those of tfjs's cpu backend", async () => {
  for (const activation of ["linear", "relu", "relu6", "sigmoid"] as const) {
    await assertAsOnCpu(
      `fused.depthwiseConv2d ${activation}`,
      (x, filter, bias) =>
        tf.fused.depthwiseConv2d({
          x: image(x),
          filter: image(filter),
          strides: 3,
          pad: "same",
          bias,
          activation,
        }),
      [1, 7, 9, 3],
      [5, 2, 3, 2],
      [6],
    );
    await assertAsOnCpu(
      `fused.conv2d ${activation}`,
      (x, filter, bias) =>
        tf.fused.conv2d({
          x: image(x),
          filter: image(filter),
          strides: 1,
          pad: "same",
          bias,
          activation,
        }),
      [2, 5, 6, 3],
      [3, 3, 3, 7],
      [7],
    );
    await assertAsOnCpu(
      `fused.matMul ${activation}`,
      (a, b, bias) => tf.fused.matMul({ a, b, bias, activation }),
      [5, 6],
      [6, 9],
      [9],
    );
  }
});

test("fused matMul adds its bias also to a transposed matrix, which tfjs-wasm's own gets wrong", async () => {
  await assertAsOnCpu(
    "fused.matMul",
    (a, b, bias) => tf.fused.matMul({ a, b, bias, transposeB: true }),
    [5, 6],
    [9, 6],
    [9],
  );
});

test("fused kernels: activations that tfjs has no gradient of are those of its cpu backend", async () => {
  const bias = () => numbers([4], 3) as tf.Tensor1D;
  const run = async (backend: string) => {
    await tf.setBackend(backend);
    const x = image(numbers([2, 5, 6, 2], 1));
    return (["elu", "leakyrelu", "prelu"] as const).flatMap((activation) => {
      const behind = {
        activation,
        bias: bias(),
        leakyreluAlpha: 0.3,
        preluActivationWeights: activation === "prelu" ? numbers([4], 5) : undefined,
      };
      const over = { x, strides: 1, pad: "same" as const, ...behind };
      return [
        tf.fused.conv2d({ ...over, filter: image(numbers([3, 3, 2, 4], 2)) }),
        tf.fused.depthwiseConv2d({ ...over, filter: image(numbers([3, 3, 2, 2], 2)) }),
        tf.fused.matMul({
          a: numbers([5, 6], 1),
          b: numbers([4, 6], 2),
          transposeB: true,
          ...behind,
        }),
      ].map((y, i) => [`${activation} ${i}`, y.dataSync() as Float32Array] as const);
    });
  };
  const expected = await run("cpu");
  (await run("wasm")).forEach(([name, y], i) => assertClose(y, expected[i][1], name));
});

test("what our kernels cannot do is done by tfjs's own", async () => {
  const dilated: Op = (x, filter) => tf.conv2d(image(x), image(filter), 1, "valid", "NHWC", 2);
  const results = async (backend: string) => {
    await tf.setBackend(backend);
    return dilated(numbers([2, 9, 9, 3], 1), numbers([3, 3, 3, 4], 2));
  };
  const expected = (await results("cpu")).dataSync() as Float32Array;
  const actual = (await results("wasm")).dataSync() as Float32Array;
  assertClose(actual, expected, "dilated conv2d");
  // An output shape that contradicts the input's; the cpu backend refuses it.
  const [x, filter] = [image(numbers([1, 8, 8, 8], 1)), image(numbers([8, 8, 8, 8], 2))];
  const y = tf.conv2dTranspose(x, filter, [1, 4, 4, 8], 1, "same");
  assert.deepEqual(y.shape, [1, 4, 4, 8]);
});

test("what no kernel can do is refused by kernel, argument and value", async () => {
  await tf.setBackend("wasm");
  const run = (kernel: string, inputs: object, attrs: object) => () =>
    tf.engine().runKernel(kernel, inputs as never, attrs as never);
  const x = numbers([1, 5, 5, 2], 1);
  const whole = tf.cast(x, "int32");
  const dy = numbers([1, 3, 3, 2], 2);
  const attrs = { strides: 1, pad: "valid", filterShape: [3, 3, 2, 2] };
  const refused: [() => unknown, string, RegExp][] = [
    [
      run("Conv2DBackpropFilter", { x, dy }, { ...attrs, dataFormat: "NCHW" }),
      "RangeError",
      /^"Conv2DBackpropFilter.dataFormat" expected NHWC, got NCHW$/,
    ],
    [
      run("Conv2DBackpropFilter", { x, dy }, { ...attrs, dilations: 2 }),
      "RangeError",
      /^"Conv2DBackpropFilter.dilations" expected 1, got \[2, 2\]$/,
    ],
    [
      run("Conv2DBackpropFilter", { x: whole, dy }, attrs),
      "TypeError",
      /^"Conv2DBackpropFilter.x" expected float32, got int32$/,
    ],
    [
      run("Conv2DBackpropFilter", { x, dy: numbers([9, 2], 1) }, attrs),
      "RangeError",
      /^"Conv2DBackpropFilter.dy" expected \[1, 3, 3, 2\], got \[9, 2\]$/,
    ],
    [
      run("Conv2D", { x, filter: numbers([3, 3, 3, 2], 1) }, attrs),
      "RangeError",
      /^"Conv2D.filter" expected 2 input channels, got \[3, 3, 3, 2\]$/,
    ],
    [
      run("Conv2DBackpropFilter", { x, dy: x }, attrs),
      "RangeError",
      /^"Conv2DBackpropFilter.dy" expected \[1, 3, 3, 2\], got \[1, 5, 5, 2\]$/,
    ],
    [
      run("DepthwiseConv2dNativeBackpropFilter", { x, dy: whole }, attrs),
      "TypeError",
      /^"DepthwiseConv2dNativeBackpropFilter.dy" expected float32, got int32$/,
    ],
    [
      run(
        "UnsortedSegmentSum",
        { x: dy, segmentIds: tf.tensor1d([0, 1, 2], "int32") },
        { numSegments: 3 },
      ),
      "RangeError",
      /^"UnsortedSegmentSum.segmentIds" expected \[1\], got \[3\]$/,
    ],
    [
      run("BatchMatMul", { a: numbers([2, 3], 1), b: numbers([2, 3], 1) }, {}),
      "RangeError",
      /^"BatchMatMul.b" expected 3 rows for "a" of \[2, 3\], got \[2, 3\]$/,
    ],
  ];
  for (const [attempt, name, message] of refused) assert.throws(attempt, { name, message });
});

test("weights changed in place are used at once by our kernels, which keep no packed copies", async () => {
  await tf.setBackend("wasm");
  const { dataIdMap, wasm } = checkedBackend(tf.backend());
  const x = image(numbers([2, 6, 6, 3], 1));
  const filter = image(numbers([3, 3, 3, 4], 2));
  const run = () => tf.conv2d(x, filter, 1, "same").dataSync() as Float32Array;
  run();
  const other = numbers(filter.shape, 3);
  new Float32Array(
    wasm.asm.memory.buffer,
    dataIdMap.get(filter.dataId).memoryOffset,
    filter.size,
  ).set(other.dataSync());
  const expected = tf.conv2d(x, image(other), 1, "same").dataSync();
  assert.deepEqual(run(), expected);
});

test("an empty batch gives an empty output", async () => {
  await tf.setBackend("wasm");
  const y = tf.conv2d(image(tf.zeros([0, 6, 6, 3])), image(numbers([3, 3, 3, 4], 2)), 1, "same");
  assert.deepEqual(y.shape, [0, 6, 6, 4]);
});

/** A plain tfjs program: a small CNN and its loss, written as anybody would. */
function smallCnn() {
  const variables = [[3, 3, 2, 4], [4], [3, 3, 4, 1], [36, 5], [5]].map((shape, i) =>
    tf.variable(tf.mul(numbers(shape, i + 7), 0.3)),
  );
  const [kernel, bias, depthwise, dense, denseBias] = variables;
  const x = image(numbers([6, 8, 8, 2], 3));
  const labels = tf.oneHot(tf.tensor1d([0, 1, 2, 3, 4, 0], "int32"), 5);
  const loss = () => {
    const convolved = tf.relu(tf.add(tf.conv2d(x, image(kernel), 1, "same"), bias));
    const pooled = tf.maxPool(image(convolved), 2, 2, "valid");
    const mixed = tf.relu(
      tf.depthwiseConv2d(
        image(
          tf.pad(pooled, [
            [0, 0],
            [1, 0],
            [1, 0],
            [0, 0],
          ]),
        ),
        image(depthwise),
        1,
        "valid",
      ),
    );
    const logits = tf.add(tf.matMul(tf.reshape(mixed, [6, 36]), dense), denseBias);
    return tf.losses.softmaxCrossEntropy(labels, logits) as tf.Scalar;
  };
  return { variables, loss, held: [...variables, x, labels] };
}

test("a plain tfjs program trains a CNN to the same weights as on tfjs's cpu backend", async () => {
  const train = async (backend: string) => {
    await tf.setBackend(backend);
    const { variables, loss, held } = smallCnn();
    const optimizer = tf.train.sgd(0.1);
    const first = tf.tidy(() => loss().dataSync()[0]);
    for (let step = 0; step < 30; step++) optimizer.minimize(loss);
    const last = tf.tidy(() => loss().dataSync()[0]);
    const weights = variables.map((one) => one.dataSync() as Float32Array);
    tf.dispose(held);
    return { first, last, weights };
  };
  const expected = await train("cpu");
  const actual = await train("wasm");
  assert.ok(actual.last < actual.first - 0.1, `${actual.first}, ${actual.last}`);
  assert.ok(Math.abs(actual.last - expected.last) < 1e-5);
  expected.weights.forEach((weights, i) =>
    assertClose(actual.weights[i], weights, `variable ${i}`),
  );
});

test("1,000 training steps leave neither tensors nor memory behind", async () => {
  await tf.setBackend("wasm");
  const { loss, held } = smallCnn();
  const optimizer = tf.train.sgd(0.01);
  const step = () => optimizer.minimize(loss);
  const { memory } = checkedBackend(tf.backend()).wasm.asm;
  for (let i = 0; i < 10; i++) step();
  const tensors = tf.memory().numTensors;
  const bytes = memory.buffer.byteLength;
  for (let i = 0; i < 1000; i++) step();
  assert.equal(tf.memory().numTensors, tensors);
  assert.equal(memory.buffer.byteLength, bytes);
  tf.dispose(held);
});
