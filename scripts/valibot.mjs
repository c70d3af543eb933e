// The part of valibot that the packages use, so that an install need not bring all 1.9 MB of it.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = fileURLToPath(new URL("../", import.meta.url));
const library = dirname(createRequire(import.meta.url).resolve("valibot"));

/** How files import it: `import * as v from "valibot"`, and declarations `import("valibot")` too. */
const IMPORTED = /(?<=from |import\()"valibot"/g;
const MEMBER = /(?:\bv|import\("valibot"\))\.(\w+)/g;

const namesIn = (texts) =>
  new Set(
    texts
      .filter((text) => text.search(IMPORTED) !== -1)
      .flatMap((text) => [...text.matchAll(MEMBER)].map(([, name]) => name)),
  );

/** The text of a compiled file or a declaration, with valibot imported from `path`. */
export const importedFrom = (path, text) => text.replace(IMPORTED, `"${path}"`);

/**
 * A module with the functions that these compiled files call, under valibot's licence.
 * @param {readonly string[]} texts
 */
export async function functionsOfValibot(texts) {
  const { outputFiles } = await build({
    stdin: {
      contents: `export { ${[...namesIn(texts)].join(", ")} } from "valibot";`,
      resolveDir: root,
    },
    bundle: true,
    write: false,
    format: "esm",
    target: "es2022",
    legalComments: "none",
    banner: { js: `/*! Part of valibot.\n\n${licence()}*/` },
    // A name that it does not export is a warning to esbuild.
    logOverride: { "import-is-undefined": "error" },
  });
  return outputFiles[0].text;
}

/**
 * The declarations that these declarations name, with those that these name in turn.
 * @param {readonly string[]} texts
 */
export function typesOfValibot(texts) {
  const text = readFileSync(join(library, "index.d.mts"), "utf8")
    .replace(/\/\*\*[^]*?\*\//g, "")
    .replace(/^\s*\/\/.*$/gm, "")
    .replace(/^export \{[^]*$/m, "")
    .replace(/\n\s*\n/g, "\n");
  const declarations = new Map();
  const start = /^(?:declare )?(?:const|function|class|interface|type) (\w+)/gm;
  for (const { index, 1: name } of text.matchAll(start)) {
    const next = text.slice(index + 1).search(/^(?:declare|interface|type) /m);
    const end = next === -1 ? text.length : index + 1 + next;
    declarations.set(name, (declarations.get(name) ?? "") + text.slice(index, end));
  }
  const needed = new Set();
  const need = (name) => {
    if (needed.has(name) || !declarations.has(name)) return;
    needed.add(name);
    for (const [word] of declarations.get(name).matchAll(/\w+/g)) need(word);
  };
  const names = [...namesIn(texts)];
  names.forEach(need);
  return [
    `/*! Part of valibot.\n\n${licence()}*/`,
    ...[...needed].map((name) => declarations.get(name)),
    `export { ${names.join(", ")} };\n`,
  ].join("\n");
}

const licence = () => readFileSync(join(library, "../LICENSE.md"), "utf8");
