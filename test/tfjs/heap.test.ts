import assert from "node:assert/strict";
import { before, test } from "node:test";
import * as tf from "@tensorflow/tfjs-core";
import { ConfigError } from "../../runtime/errors.js";
import type { Heap } from "../../runtime/wasm/kernels.js";
import { checkedBackend } from "../../runtime/wasm/tfjs-check.js";
import { changedInPlace, tfjsHeap } from "../../runtime/wasm/tfjs-heap.js";

let heap: Heap;
before(async () => {
  heap = await tfjsHeap();
});

const floatsOf = (tensor: tf.Tensor) =>
  new Float32Array(
    heap.memory.buffer,
    checkedBackend(tf.backend()).dataIdMap.get(tensor.dataId).memoryOffset,
    tensor.size,
  );

test("what is written into the heap's memory is what tfjs reads", () => {
  const tensor = tf.tensor1d([1, 2, 3]);
  floatsOf(tensor)[1] = 20;
  assert.deepEqual([...tensor.dataSync()], [1, 20, 3]);
  tensor.dispose();
});

test("addresses are 16-byte aligned, blocks do not overlap, and the memory comes back", () => {
  const sizes = Array.from({ length: 68 }, (_, size) => size);
  const round = () => {
    const addresses = sizes.map((size) => heap.allocate(size));
    addresses.forEach((address, i) => {
      assert.equal(address % 16, 0);
      new Uint8Array(heap.memory.buffer).fill(i, address, address + sizes[i]);
    });
    addresses.forEach((address, i) => {
      const bytes = new Uint8Array(heap.memory.buffer, address, sizes[i]);
      assert.ok(bytes.every((byte) => byte === i));
      heap.free(address);
    });
  };
  round();
  const before = heap.memory.buffer.byteLength;
  for (let i = 0; i < 1000; i++) round();
  assert.equal(heap.memory.buffer.byteLength, before);
});

test("memory grows on demand, and an impossible wish is refused by name", () => {
  const address = heap.allocate(64e6);
  assert.ok(heap.memory.buffer.byteLength > 64e6);
  heap.free(address);
  assert.throws(() => heap.allocate(2 ** 32 - 2 ** 16), {
    name: "RangeError",
    message: /"allocate" expected room for 4294901760 bytes/,
  });
  assert.throws(() => heap.free(address), {
    name: "RangeError",
    message: /"free"/,
  });
});

test("a tfjs whose private fields differ is refused by field and version", () => {
  const { wasm, dataIdMap, ...rest } = tf.backend() as unknown as Record<string, object>;
  const methods = {
    makeOutput() {},
    write: () => ({}),
    disposeData: () => true,
    dataIdMap,
    ...rest,
  };
  const refused: [string, object][] = [
    ["wasm.asm.memory", { ...methods, wasm: { ...wasm, asm: {} } }],
    ["wasm._malloc", { ...methods, wasm: { ...wasm, _malloc: undefined } }],
    ["wasm.tfjs.registerTensor", { ...methods, wasm: { ...wasm, tfjs: {} } }],
    ["dataIdMap.get", { ...methods, wasm, dataIdMap: {} }],
    [
      "dataIdMap.get(id).memoryOffset",
      {
        ...methods,
        wasm,
        dataIdMap: { get: () => ({ id: 1, memoryOffset: 64 }) },
      },
    ],
    ["wasm.asm.memory", {}],
  ];
  for (const [field, backend] of refused)
    assert.throws(
      () => checkedBackend(backend),
      (error) =>
        error instanceof ConfigError &&
        error.code === "tfjs-version" &&
        error.message.startsWith(`"tf.backend().${field}" expected `) &&
        error.message.includes(`tfjs-core ${tf.version_core}; fedflat supports`),
      field,
    );
  assert.throws(() => checkedBackend({ ...methods, wasm: { ...wasm, PThread: {} } }), {
    code: "tfjs-threads",
  });
});

test("weights changed in place are used once tfjs is told", () => {
  const x = tf.ones([1, 4, 4, 2]) as tf.Tensor4D;
  const filter = tf.ones([2, 2, 2, 1]) as tf.Tensor4D;
  const sum = () => tf.tidy(() => tf.sum(tf.depthwiseConv2d(x, filter, 1, "valid")).dataSync()[0]);
  assert.equal(sum(), 72);
  floatsOf(filter).fill(2);
  assert.equal(sum(), 72, "tfjs's packed copy: why changedInPlace exists");
  changedInPlace(filter);
  assert.equal(sum(), 144);
  tf.dispose([x, filter]);
});
