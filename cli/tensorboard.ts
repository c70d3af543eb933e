import { appendFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { ALL_FIGURES, type RoundSources } from "../aggregator/monitoring/round-figures.js";
import type { Aggregator } from "../aggregator/run/aggregator.js";
import { crc32c } from "../runtime/crc.js";
import { makeFolder } from "../runtime/platform/node-files.js";

/**
 * Writes what a run measures as TensorBoard scalars against the round: a new event file in the
 * folder, which `tensorboard --logdir` of it or of a folder above shows beside those of other runs.
 */
export function writeTensorBoard(aggregator: Aggregator, folder: string): void {
  makeFolder(folder);
  const seconds = Math.floor(Date.now() / 1000);
  const file = join(folder, `events.out.tfevents.${seconds}.${hostname()}.${process.pid}`);
  const write = (event: Uint8Array) => appendFileSync(file, record(event));
  const scalars = (step: number, sources: RoundSources) =>
    write(scalarEvent(Date.now() / 1000, step, scalarsOf(sources)));

  write(versionEvent(seconds));
  aggregator.on("round", (record, timings) => scalars(record.round, { rounds: record, timings }));
  aggregator.on("evaluation", (record) => scalars(record.round, { evaluations: record }));
}

/** The figures by their names in TensorBoard; a list's by layer. */
function scalarsOf(sources: RoundSources): Record<string, number> {
  const figures = ALL_FIGURES.flatMap(({ scalar, of }) => {
    const value = of(sources);
    if (value === undefined) return [];
    return typeof value === "number"
      ? [[scalar, value] as const]
      : value.map((one, layer) => [`${scalar} ${layer}`, one] as const);
  });
  return Object.fromEntries(figures);
}

// Protocol buffers (tensorflow/core/util/event.proto): Event { 1: double wall_time, 2: int64 step,
// 3: string file_version, 5: Summary { 1: Value { 1: string tag, 2: float simple_value } } }.

const VARINT = 0;
const DOUBLE = 1;
const BYTES = 2;
const FLOAT = 5;

const key = (field: number, wire: number) => varint(field * 8 + wire);

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) + 128);
  return Buffer.from([...bytes, value]);
}

function double(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return Buffer.concat([key(field, DOUBLE), bytes]);
}

function float(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return Buffer.concat([key(field, FLOAT), bytes]);
}

const bytes = (field: number, value: string | Uint8Array): Buffer => {
  const content = Buffer.from(value as string);
  return Buffer.concat([key(field, BYTES), varint(content.length), content]);
};

const versionEvent = (time: number): Buffer =>
  Buffer.concat([double(1, time), bytes(3, "brain.Event:2")]);

const scalarEvent = (
  time: number,
  step: number,
  values: Readonly<Record<string, number>>,
): Buffer =>
  Buffer.concat([
    double(1, time),
    key(2, VARINT),
    varint(step),
    bytes(
      5,
      Buffer.concat(
        Object.entries(values).map(([tag, value]) =>
          bytes(1, Buffer.concat([bytes(1, tag), float(2, value)])),
        ),
      ),
    ),
  ]);

/** A TFRecord: the length, its checksum, the content, its checksum. */
function record(content: Uint8Array): Buffer {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(content.length));
  const checksum = (data: Uint8Array) => {
    const sum = Buffer.alloc(4);
    sum.writeUInt32LE(masked(crc32c(data)));
    return sum;
  };
  return Buffer.concat([length, checksum(length), content, checksum(content)]);
}

/** As TFRecord stores checksums: rotated by 15 bits, plus a constant. */
const masked = (sum: number) => (((sum >>> 15) | (sum << 17)) + 0xa282ead8) >>> 0;
