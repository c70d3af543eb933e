import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { deflateSync } from "node:zlib";
import { Filters } from "jsfive";
import "../../../cli/interchange/hdf5.js";
import { encode } from "../../../cli/interchange/onnx-file.js";
import { readAny } from "../../../cli/interchange/read.js";
import { WireType } from "@bufbuild/protobuf/wire";
import { MODELS } from "./running.js";
import { writeZip } from "../../../cli/interchange/zip-writer.js";

const beside = () => Promise.reject(new Error("no files beside"));
const network = { input: [3], layers: [{ type: "dense", units: 2 }] };
const text = (value: unknown) => Buffer.from(JSON.stringify(value));

/** An ONNX file of one operator, whose second input is one of the network's where it is named. */
const onnx = (op: string, weight?: string): Uint8Array => {
  const node = encode((w) => {
    for (const input of weight === undefined ? [] : ["x", weight])
      w.tag(1, WireType.LengthDelimited).string(input);
    w.tag(4, WireType.LengthDelimited).string(op);
  });
  const value = (name: string) =>
    encode((w) => {
      const dimension = encode((d) => d.tag(1, WireType.Varint).int64(3));
      const shape = encode((s) => {
        for (let i = 0; i < 2; i++) s.tag(1, WireType.LengthDelimited).bytes(dimension);
      });
      const tensor = encode((t) => t.tag(2, WireType.LengthDelimited).bytes(shape));
      const type = encode((t) => t.tag(1, WireType.LengthDelimited).bytes(tensor));
      w.tag(1, WireType.LengthDelimited).string(name);
      w.tag(2, WireType.LengthDelimited).bytes(type);
    });
  const graph = encode((w) => {
    w.tag(1, WireType.LengthDelimited).bytes(node);
    for (const input of weight === undefined ? ["x"] : ["x", weight])
      w.tag(11, WireType.LengthDelimited).bytes(value(input));
    w.tag(12, WireType.LengthDelimited).bytes(value("y"));
  });
  return encode((w) => {
    w.tag(1, WireType.Varint).int64(8);
    w.tag(7, WireType.LengthDelimited).bytes(graph);
  });
};

/** A ZIP archive that says that its file unpacks to 4 GB less a byte or two. */
function bomb(): Uint8Array {
  const zip = writeZip({ "config.json": Buffer.alloc(1000), "model.weights.h5": Buffer.alloc(9) });
  const at = zip.indexOf("PK\x01\x02", 0, "latin1");
  zip.writeUInt32LE(0xfffffff0, at + 24);
  return zip;
}

/** A ZIP archive whose configuration is 64 MB of spaces. */
const spaces = (): Uint8Array =>
  writeZip({ "config.json": Buffer.alloc(2 ** 26, " "), "model.weights.h5": Buffer.alloc(9) });

const manifest = [{ paths: ["a.bin"], weights: [{ name: "a", shape: [2], dtype: "float32" }] }];

/** A safetensors file whose header would be of 10 GB. */
function header(): Uint8Array {
  const bytes = Buffer.alloc(64, " ");
  bytes.writeBigUInt64LE(10_000_000_000n);
  bytes.write("{", 8);
  return bytes;
}

const whole = readFileSync(join(MODELS, "onnx", "test_Linear", "model.onnx"));
const h5 = readFileSync(join(MODELS, "keras", "two-dense.h5"));
const tflite = readFileSync(join(MODELS, "tflite", "trained_lstm.tflite"));

const FILES: Readonly<Record<string, readonly [Uint8Array, RegExp]>> = {
  "a zip bomb": [bomb(), /config.json" size expected at most 33554432 bytes .* got 4294967280$/],
  "a zip bomb of spaces": [spaces(), /size expected at most 33554432 bytes .* got 67108864$/],
  "a header of 10 GB": [header(), /"header" expected at most .* bytes, got 10000000000/],
  "control flow": [onnx("If"), /^"node 0 \(If\)" expected no control flow, got If$/],
  "an unknown operator": [
    onnx("Einsum"),
    /^"node 0 \(Einsum\)" expected an operator among those of docs\/interchange.md, got Einsum$/,
  ],
  "ONNX cut off": [whole.subarray(0, whole.length >> 1), /^"[^"]*" expected /],
  "HDF5 cut off": [
    h5.subarray(0, h5.length >> 2),
    /^"file" expected \d+ bytes, got \d+ \(cut off\?\)$/,
  ],
  "TFLite cut off": [tflite.subarray(0, 3000), /^"file" expected /],
  "weights that are inputs": [
    onnx("MatMul", "w"),
    /^"file.inputs" expected weights inside the file, as initializers, got inputs for them: w$/,
  ],
  "weights without a network": [text(manifest), /^"file.modelTopology" expected the network/],
  "a layer without a configuration": [
    text({
      modelTopology: {
        class_name: "Sequential",
        config: {
          layers: [
            {
              class_name: "Activation",
              config: { name: "a", activation: "tanh", batch_input_shape: [null, 3] },
            },
            { class_name: "GRU", name: "steps", config: null },
          ],
        },
      },
      weightsManifest: [],
    }),
    /^"steps \(GRU\).config" expected an object, got null$/,
  ],
  "a graph-model": [
    text({ format: "graph-model", modelTopology: { node: [] } }),
    /^"model.json.format" expected layers-model, got graph-model$/,
  ],
  "a network of 1,001 layers": [
    text({
      modelTopology: {
        class_name: "Sequential",
        config: {
          layers: Array.from({ length: 1001 }, (_, i) => ({
            class_name: "Activation",
            config: { name: `a${i}`, activation: "tanh", batch_input_shape: [null, 3] },
          })),
        },
      },
      weightsManifest: [],
    }),
    /"model_config.layers" expected at most 1000, got more$/,
  ],
};

test("a chunk of HDF5 that unpacks to far more than a model's is refused", () => {
  const inflate = Filters.get(1)!;
  const chunk = (bytes: Uint8Array) => new Uint8Array(deflateSync(bytes)).buffer;
  assert.equal(inflate(chunk(new Uint8Array(1000)), 4).byteLength, 1000);
  assert.throws(() => inflate(chunk(new Uint8Array(2 ** 26)), 4), { code: "ERR_BUFFER_TOO_LARGE" });
});

for (const [name, [bytes, message]] of Object.entries(FILES))
  test(`${name} is refused in one sentence`, async () => {
    await assert.rejects(
      async () => readAny(bytes, { ...(name === "a header of 10 GB" && { network }), beside }),
      (error: Error) => {
        assert.match(error.message, message);
        assert.ok("code" in error);
        assert.ok(error.message.length < 400 && !error.message.includes("\n"));
        return true;
      },
    );
  });
