import assert from "node:assert/strict";
import { test } from "node:test";
import { ConfigError, DataError, FedflatError, ModelError } from "../runtime/errors.js";
import { buffersOf, errorFrom, movable, postedError } from "../runtime/worker-rpc.js";

test("a message is moved with one copy of each vector; what was given stays whole, shared memory stays shared", () => {
  const weights = Float32Array.of(1, 2, 3);
  const shared = new Uint8Array(new SharedArrayBuffer(4));
  const part = new Float32Array(10).fill(7).subarray(2, 4);
  const given = {
    weights,
    objective: { proximal: { coefficient: 1, center: weights }, linear: part },
    shared,
    list: [{ text: "a" }, null, undefined, 3],
  };
  const { message, transfer } = movable(given);
  assert.deepEqual(message, given);
  assert.equal(message.weights, message.objective.proximal.center);
  assert.equal(message.shared, shared);
  assert.deepEqual(transfer, [message.weights.buffer, message.objective.linear.buffer]);
  assert.equal(message.objective.linear.buffer.byteLength, 8);
  structuredClone(message, { transfer });
  assert.deepEqual([...weights, ...part], [1, 2, 3, 7, 7]);
});

test("a result's own vectors are found, alone or as fields", () => {
  const vector = new Float64Array(2);
  assert.deepEqual(buffersOf(vector), [vector.buffer]);
  assert.deepEqual(buffersOf({ delta: vector, metrics: { samples: 1 } }), [vector.buffer]);
  assert.deepEqual(buffersOf({ count: 1, correct: 1, loss: 0 }), []);
});

test("an error comes out of the port as what it was, and a stranger as failed", () => {
  for (const Class of [ModelError, DataError, ConfigError, FedflatError]) {
    // A bundle has another name for the class.
    const sent = Object.assign(new Class("code", "message"), { name: "e" });
    const got = errorFrom(structuredClone(postedError(sent)));
    assert.equal(got.constructor, Class);
    assert.deepEqual([got.code, got.message], ["code", "message"]);
  }
  assert.equal(errorFrom(postedError(new RangeError("x"))).code, "failed");
});
