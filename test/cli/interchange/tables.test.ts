import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { format } from "prettier";
import { sayNetwork } from "../../../cli/interchange/keras-layers.js";
import { LAYERS as KERAS } from "../../../cli/interchange/keras.js";
import { readOnnxFile } from "../../../cli/interchange/onnx-file.js";
import { writeOnnx } from "../../../cli/interchange/onnx-writer.js";
import { OPERATORS as ONNX } from "../../../cli/interchange/onnx.js";
import { OPERATORS as TFLITE } from "../../../cli/interchange/tflite.js";
import { writeTorch } from "../../../cli/interchange/torch-writer.js";
import { ModelError } from "../../../runtime/errors.js";
import { LAYER_KINDS, parseDescription } from "../../../runtime/models/description.js";
import { initialModel } from "../../../runtime/models/initial.js";
import type { Model } from "../../../runtime/models/model.js";
import { LAYER_CASES, type LayerCase } from "../../models/layer-cases.js";
import { repository } from "../command.js";
import { withRunningValues } from "./networks.js";
import { WRITERS } from "./running-written.js";

// Two tables of docs/interchange.md: what each kind of layer is written as, by writing it, and what
// each reader knows. FEDFLAT_TABLES=write brings the page up to date.

type Type = keyof typeof LAYER_KINDS;

/** A layer between its inputs and what makes classes of it; or, without it, the rest. */
function modelWith(type: Type, { input, fields, gate }: LayerCase, isThere: boolean): Model {
  const several = LAYER_KINDS[type].inputs === "several";
  const other = gate ? { type: "globalMaxPool" } : { type: "activation", activation: "tanh" };
  const layers = [
    ...(several ? [{ ...other, inputs: ["input"], name: "other" }] : []),
    ...(isThere ? [{ type, ...fields, inputs: several ? ["input", "other"] : ["input"] }] : []),
    ...(type === "flatten" ? [] : [{ type: "flatten" }]),
    { type: "dense", units: 2 },
  ];
  const shape = !isThere && type === "flatten" ? [4] : input;
  const description = parseDescription({ input: shape, layers });
  return withRunningValues(initialModel({ description, classes: [] }, "tables"));
}

/** What a program has for each layer of a model, in its order. */
const NAMES: Readonly<Record<string, (model: Model, index: number) => readonly string[]>> = {
  onnx: (model) => readOnnxFile(writeOnnx(model)).nodes.map(({ op }) => op),
  keras: (model) => sayNetwork(model, "Keras").layers.map(({ type }) => type),
  tfjs: (model) => sayNetwork(model, "TensorFlow.js").layers.map(({ type }) => type),
  torch(model, index) {
    const { "model.py": text } = writeTorch(model);
    const modules = [...text.matchAll(/^ {12}nn\.(\w+)\(/gm)].map(([, name]) => name);
    const line = text.match(new RegExp(`^ {8}y${index} = (.*)$`, "m"))?.[1] ?? "";
    const called = [...line.matchAll(/\b(?:F|torch)\.\w+/g)].map(([name]) => name);
    if (modules[index] !== "Identity") return [modules[index]];
    return called.length > 0 || /^[xy]\d*$/.test(line) ? called : ["an expression"];
  },
};

/** What a layer is written as, where any form of it can be. */
async function writtenAs(type: Type, format: string): Promise<string> {
  const names = NAMES[format];
  // TensorFlow.js knows a GRU of this form alone.
  const more = type === "gru" ? [{ input: [5, 3], fields: { units: 4, resetAfter: false } }] : [];
  for (const one of [...LAYER_CASES[type], ...more]) {
    const model = modelWith(type, one, true);
    const index = LAYER_KINDS[type].inputs === "several" ? 1 : 0;
    try {
      const left = [...names(model, index)];
      await WRITERS[format](model).read();
      if (format !== "torch")
        for (const name of names(modelWith(type, one, false), index)) {
          const place = left.lastIndexOf(name);
          if (place >= 0) left.splice(place, 1);
        }
      // They only bring channels into the order of the next one.
      const own = [...new Set(left)].filter((name) => name !== "Transpose");
      return own.join(", ") || "nothing";
    } catch (error) {
      if (!(error instanceof ModelError) || error.code !== "import") throw error;
    }
  }
  return "-";
}

const row = (cells: readonly string[]): string => `| ${cells.join(" | ")} |\n`;
const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => "---"), ...rows].map(row).join("");

async function tables(): Promise<Readonly<Record<string, string>>> {
  const formats = { onnx: "ONNX", keras: "Keras", tfjs: "TensorFlow.js", torch: "PyTorch" };
  const rows: string[][] = [];
  for (const type of Object.keys(LAYER_KINDS) as Type[]) {
    const cells = [];
    for (const format of Object.keys(formats)) cells.push(await writtenAs(type, format));
    rows.push([`\`${type}\``, ...cells]);
  }
  const known = (names: object) => [
    Object.keys(names)
      .filter((name) => /^[A-Z]\w+$/.test(name) && !name.startsWith("CuDNN"))
      .sort()
      .join(", "),
  ];
  return {
    written: table(["ours", ...Object.values(formats)], rows),
    known: table(
      ["reader", "knows"],
      [
        ["Keras, TensorFlow.js", ...known(KERAS)],
        ["ONNX", ...known(ONNX)],
        ["TFLite", ...known(TFLITE)],
      ],
    ),
  };
}

test("the tables of docs/interchange.md say what is written, read again and known", async () => {
  const path = repository("docs/interchange.md");
  const page = readFileSync(path, "utf8");
  let made = page;
  for (const [name, body] of Object.entries(await tables())) {
    const [begin, end] = [`<!-- table ${name} -->\n`, "<!-- end -->"];
    const from = made.indexOf(begin) + begin.length;
    assert.ok(from >= begin.length, `docs/interchange.md has no ${begin}`);
    const own = (await format(body, { parser: "markdown" })).trim();
    made = `${made.slice(0, from)}\n${own}\n\n${made.slice(made.indexOf(end, from))}`;
  }
  if (process.env["FEDFLAT_TABLES"] === "write") writeFileSync(path, made);
  else assert.equal(page, made, "FEDFLAT_TABLES=write node --test of this file writes them");
});
