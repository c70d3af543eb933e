import assert from "node:assert/strict";
import { test } from "node:test";
import "@tensorflow/tfjs-backend-wasm";
import * as tf from "@tensorflow/tfjs-core";

test("the kernels may be imported after the backend has started", async () => {
  const warnings: unknown[] = [];
  const warn = console.warn;
  console.warn = (...args) => warnings.push(args);
  const segmentSum = () =>
    tf.unsortedSegmentSum(tf.tensor1d([1, 2, 3]), tf.tensor1d([1, 1, 0], "int32"), 2).arraySync();

  await tf.setBackend("wasm");
  const before = tf.matMul(tf.ones([2, 3]), tf.ones([3, 2])).arraySync();
  assert.throws(segmentSum, /UnsortedSegmentSum/);
  // By its public name, as a user imports it.
  await import("fedflat/kernels");
  assert.deepEqual(segmentSum(), [3, 3]);
  assert.deepEqual(tf.matMul(tf.ones([2, 3]), tf.ones([3, 2])).arraySync(), before);
  console.warn = warn;
  assert.deepEqual(warnings, []);
});
