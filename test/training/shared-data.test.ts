import assert from "node:assert/strict";
import { test } from "node:test";
import type { Dataset } from "../../runtime/data/dataset.js";
import { sharedDatasets } from "../../runtime/training/shared-data.js";

test("inputs, labels and targets lie on memory that workers share, those of one array as one", () => {
  const share = sharedDatasets();
  const inputs = Uint8Array.of(1, 2, 3, 4);
  const dataset: Dataset = {
    shape: [2],
    inputs,
    labels: Int32Array.of(-1, -1),
    targets: { kind: "classes", size: 1, values: inputs, starts: Uint32Array.of(1, 3) },
    classes: ["a"],
  };
  const { content } = share(dataset);
  assert.deepEqual(content, dataset);
  assert.equal(content.targets?.values, content.inputs);
  const values = Float32Array.of(0.5, 1.5);
  const numbers = { ...dataset, targets: { kind: "numbers", size: 1, values } as const };
  const { targets } = share(numbers).content;
  assert.deepEqual(targets, numbers.targets);
  for (const { buffer } of [content.inputs, content.labels, targets!.values])
    assert.ok(buffer instanceof SharedArrayBuffer);
  assert.equal(share(dataset).content, content);
});
