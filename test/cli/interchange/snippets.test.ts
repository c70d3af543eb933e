import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { readModel, writeModelTo } from "../../../cli/model-file.js";
import { initialModel } from "../../../runtime/models/initial.js";
import { preset } from "../../../runtime/models/presets.js";
import { MAIN, repository } from "../command.js";
import { pythonThatRuns } from "./python.js";
import { MODELS } from "./running.js";

// docs/interchange.md as it stands. Inside of dist/, so that snippets find the packages.
const folder = mkdtempSync(repository("dist/interchange-"));
after(() => rmSync(folder, { recursive: true }));

const page = readFileSync(repository("docs/interchange.md"), "utf8");

/** The snippets of a section, in their order. */
const snippets = (title: string) => {
  const section = page.split(/^## /m).find((part) => part.startsWith(`${title}\n`));
  assert.ok(section, title);
  return [...section.matchAll(/^```(\w+)\n(.*?)^```$/gms)].map(([, language, code]) => ({
    language,
    code,
  }));
};

/** Runs the commands of a snippet one after the other. */
function shell(code: string): void {
  for (const line of code.trim().split("\n")) {
    const [program, ...args] = line.match(/"[^"]*"|\S+/g)!.map((word) => word.replaceAll('"', ""));
    assert.equal(program, "fedflat");
    execFileSync(process.execPath, [MAIN, ...args], { cwd: folder, stdio: "pipe" });
  }
}

test("the walk from a Keras file to a federation to an ONNX file", async () => {
  copyFileSync(join(MODELS, "keras", "two-dense.h5"), join(folder, "wear.h5"));
  const rows = Array.from({ length: 80 }, (_, i) => {
    const label = i % 3;
    return [Math.sin(i) + label, Math.cos(3 * i) - label, Math.sin(7 * i), `part${label}`].join();
  });
  writeFileSync(join(folder, "wear.csv"), ["x,y,z,label", ...rows, ""].join("\n"));
  const [{ language, code }] = snippets("From a Keras file to a federation to an ONNX file");
  assert.equal(language, "sh");
  shell(code);
  const [trained, back] = await Promise.all(
    ["runs/wear", "models/back"].map((path) => readModel(join(folder, path))),
  );
  assert.equal(trained.classes.length, 3);
  assert.deepEqual([...back.weights], [...trained.weights]);
});

test("what is exported loads as the page says", async (t) => {
  const model = initialModel({ description: preset("sensor"), classes: [..."abcdef"] }, "1");
  await writeModelTo(join(folder, "runs", "watches"), model);
  const [commands, ...programs] = snippets("A file for other programs");
  shell(commands.code);
  for (const [i, { language, code }] of programs.entries()) {
    const imported = [...code.matchAll(/^(?:import|from) (?!model)([\w., ]+?)(?: import .*)?$/gm)];
    const modules = imported.map(([, names]) => names).join(", ");
    const python = language === "py" ? pythonThatRuns(`import ${modules}`) : undefined;
    const skip = language === "py" && python === undefined && `no Python here that has ${modules}`;
    const file = join(folder, `snippet-${i}.${language === "py" ? "py" : "mjs"}`);
    await t.test(`${language}, ${i}`, { skip }, () => {
      writeFileSync(file, code);
      const cwd = code.includes("from model import") ? join(folder, "watches-torch") : folder;
      const env = { KERAS_BACKEND: "jax", PYTHONPATH: cwd, ...process.env };
      const said = execFileSync(python ?? process.execPath, [file], { cwd, env, encoding: "utf8" });
      assert.equal(said.match(/-?\d\.\d+(?:e-?\d+)?/g)?.length, 6, said);
    });
  }
});
