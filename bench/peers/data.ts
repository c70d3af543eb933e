import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openData } from "../../cli/data.js";
import type { Dataset } from "../../runtime/data/dataset.js";
import { parseSplit, splitRows } from "../../runtime/data/split.js";

/**
 * Writes each client's part of a data set and the test half into a folder, for programs in any
 * language: `1.x` holds the pixels of its images end to end, `1.y` their classes, a byte each.
 */
export async function writeParts(
  source: string,
  folder: string,
  { clients, split, seed }: { clients: number; split: string; seed: number },
): Promise<void> {
  const { train, test } = await openData(source);
  if (train === undefined || test === undefined)
    throw new Error(`"${source}" expected a training and a test half`);
  mkdirSync(folder, { recursive: true });
  const parts = splitRows(train, parseSplit(split), clients, seed);
  parts.forEach((rows, k) => write(join(folder, String(k + 1)), train, rows));
  write(join(folder, "test"), test, Uint32Array.from(test.labels.keys()));
}

function write(path: string, { inputs, labels, shape }: Dataset, rows: Uint32Array): void {
  const size = shape.reduce((a, b) => a * b);
  const x = new Uint8Array(rows.length * size);
  rows.forEach((row, i) => x.set(inputs.subarray(row * size, (row + 1) * size), i * size));
  writeFileSync(`${path}.x`, x);
  writeFileSync(
    `${path}.y`,
    Uint8Array.from(rows, (row) => labels[row]),
  );
}
