import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { repository } from "../cli/command.js";
import { DOCUMENTS, blocksOf } from "./tree.js";

const blocks = (...languages: readonly string[]) =>
  DOCUMENTS.flatMap((document) => blocksOf(document, ...languages));

/** What the documents' programs leave to their readers. */
const READERS = `
declare global {
  const url: string, state: string;
  const x: Float32Array, y: string[];
  const data: { x: Float32Array; y: string[] };
  const options: import("fedflat").ClientOptions;
  const aggregator: import("fedflat/aggregator").Aggregator;
  const model: unknown, batch: unknown;
  function onMainsPower(): boolean;
  function show(round: number, share: number, loss: number): void;
  function loss(model: unknown, batch: unknown): import("@tensorflow/tfjs-core").Scalar;
}
export {};
`;
const MODULES = `
declare module "@tensorflow/tfjs" {
  export * from "@tensorflow/tfjs-core";
  export const train: { sgd(rate: number): { minimize(loss: () => unknown): void } };
}
declare module "*/fedcm.js" {
  const algorithm: import("fedflat").Algorithm;
  export default algorithm;
}
declare module "*/power.js" {
  export function watchPower(): () => true | string;
}
`;

test("a compiler takes the programs in the documents, with the types as they are built", (t) => {
  // In the repository, since there its own name leads to its types.
  const folder = mkdtempSync(repository("dist/documents-"));
  t.after(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, "readers.d.ts"), READERS);
  writeFileSync(join(folder, "modules.d.ts"), MODULES);
  const places = new Map<string, string>();
  // A test of its own runs this one; its tensors have more ranks than their types can follow.
  const programs = blocks("js", "ts").filter(({ place }) => !/using-the-model/.test(place));
  for (const [i, { place, code }] of programs.entries()) {
    const name = `block${i}.ts`;
    places.set(name, place);
    writeFileSync(
      join(folder, name),
      `${code}\nexport {}; // a module also where it imports nothing\n`,
    );
  }
  const tsc = repository("node_modules/typescript/bin/tsc");
  const flags = [
    "--ignoreConfig",
    "--noEmit",
    "--skipLibCheck",
    "--noImplicitAny",
    "false",
    "--target",
    "es2022",
  ];
  const names = ["readers.d.ts", "modules.d.ts", ...places.keys()];
  const { stdout } = spawnSync(
    process.execPath,
    [tsc, ...flags, "--module", "nodenext", "--types", "node", ...names],
    { cwd: folder, encoding: "utf8" },
  );
  const said = stdout.replace(/^block\d+\.ts/gm, (name) => `${places.get(name)}: ${name}`);
  assert.equal(said, "");
  assert.ok(places.size >= 10);
});

test("JSON and YAML in the documents can be read", () => {
  const unread: string[] = [];
  for (const [languages, read] of [
    [["json"], JSON.parse],
    [["yaml", "yml"], parse],
  ] as const)
    for (const { place, code } of blocks(...languages))
      try {
        (read as (text: string) => unknown)(code);
      } catch (error) {
        unread.push(`${place}: ${String(error)}`);
      }
  assert.deepEqual(unread, []);
});
