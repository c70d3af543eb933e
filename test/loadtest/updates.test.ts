import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { percentiles } from "../../cli/loadtest/recording.js";
import { randomUpdates } from "../../cli/loadtest/updates.js";
import { float32 } from "../../runtime/codecs/float32.js";
import { layoutOf } from "../../runtime/tensors/layout.js";
import { readBlob } from "../aggregator/run/raw-client.js";

const layout = layoutOf([
  { name: "0.kernel", shape: [300, 101] },
  { name: "0.bias", shape: [101] },
]);
const form = float32.form(layout, ["delta"]);

const whole = ({ source, bytes }: ReturnType<ReturnType<typeof randomUpdates>>) =>
  source(0, bytes).slice();

test("a random update has the form of the layout, small finite numbers, and its hash", () => {
  const make = randomUpdates(1e-3);
  const update = make(form, 7);
  const bytes = whole(update);
  assert.equal(bytes.length, form.bytes);
  assert.equal(createHash("sha256").update(bytes).digest("hex"), update.sha256);
  const [kernel, bias] = readBlob(bytes);
  assert.deepEqual(
    [kernel.name, kernel.shape, bias.name, bias.shape],
    ["delta/0.kernel", [300, 101], "delta/0.bias", [101]],
  );
  for (const { data } of [kernel, bias]) assert.ok(data.every((x) => Math.abs(x) < 0.01));
  assert.ok(new Set(kernel.data).size > 20_000);
});

test("the same seed makes the same update, another one another, at any later time", () => {
  const make = randomUpdates();
  const first = make(form, 1);
  const before = whole(first);
  const second = make(form, 2);
  assert.notEqual(second.sha256, first.sha256);
  assert.deepEqual(whole(first), before);
  assert.equal(randomUpdates()(form, 1).sha256, first.sha256);
});

test("an update can be read from any offset, in pieces of any size", () => {
  const update = randomUpdates()(form, 3);
  const bytes = whole(update);
  fc.assert(
    fc.property(fc.nat(form.bytes - 1), fc.integer({ min: 1, max: 70_000 }), (offset, length) => {
      const end = Math.min(form.bytes, offset + length);
      assert.deepEqual(
        Buffer.from(update.source(offset, end - offset)),
        Buffer.from(bytes.subarray(offset, end)),
      );
    }),
  );
});

test("a poisoned update differs in its first number only", () => {
  const make = randomUpdates();
  const [good] = readBlob(whole(make(form, 5)));
  const [bad] = readBlob(whole(make(form, 5, NaN)));
  assert.ok(Number.isNaN(bad.data[0]));
  assert.deepEqual(bad.data.slice(1), good.data.slice(1));
});

test("percentiles are of the nearest rank", () => {
  const hundred = Array.from({ length: 100 }, (_, i) => 100 - i);
  assert.deepEqual(percentiles(hundred), {
    count: 100,
    p50: 50,
    p95: 95,
    p99: 99,
    max: 100,
  });
  assert.deepEqual(percentiles([4]), {
    count: 1,
    p50: 4,
    p95: 4,
    p99: 4,
    max: 4,
  });
  assert.equal(percentiles([]), undefined);
});
