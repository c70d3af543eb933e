// node scripts/pack.mjs FOLDER, after npm run build: puts the tarballs of all packages into FOLDER.
//   fedflat      the compiled library: the declarations that its entries reach, the part of valibot
//                that is used, and the kernels once
//   fedflat-cli  the compiled command line, documents, examples with the demo's data, and
//                cli/package.json with the fields that all packages share
//   create-fedflat  cli/create/, whose Electron template has the example's app
// In the repository cli/ imports files of runtime/ and aggregator/ beside it; in fedflat-cli these
// imports name the same files in fedflat, by the export `fedflat/internal/*`. What that export holds
// may change with every version, so fedflat-cli depends on exactly the version it was packed with.
import { execFileSync } from "node:child_process";
import {
  cpSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { functionsOfValibot, importedFrom, typesOfValibot } from "./valibot.mjs";

const root = fileURLToPath(new URL("../", import.meta.url));
const dist = join(root, "dist");
const cli = join(dist, "cli");
const [folder] = process.argv.slice(2);
if (folder === undefined) {
  console.error("usage: node scripts/pack.mjs FOLDER");
  process.exit(2);
}
const destination = resolve(folder);
const library = join(destination, "fedflat");
const staged = join(destination, "fedflat-cli");
const create = join(destination, "create-fedflat");
for (const stage of [library, staged, create]) {
  rmSync(stage, { recursive: true, force: true });
  mkdirSync(stage, { recursive: true });
}
const read = (path) => readFileSync(path, "utf8");
const filesIn = (path) =>
  readdirSync(path, { recursive: true })
    .map((name) => join(path, name))
    .filter((file) => statSync(file).isFile());
const IMPORTS = /\b(from |import |import\()"(\.\.?\/[^"]+)"/g;
/** Docstrings, which the declarations have too: a device is spared the twentieth that they take. */
const DOCSTRINGS = /^[ \t]*\/\*\*[^]*?\*\/\n/gm;

await packLibrary();
for (const file of filesIn(cli).filter((name) => name.endsWith(".js"))) {
  const target = join(staged, "dist/cli", relative(cli, file));
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(target, ofCommandLine(file));
}
/** Pages show the results' pictures as SVG; their PNG twins are for who takes them elsewhere. */
const isPacked = (path) => path !== join(root, "docs/api") && !/-pictures[/\\].*\.png$/.test(path);
for (const path of ["LICENSE", "docs", "examples"])
  cpSync(join(root, path), join(staged, path), { recursive: true, filter: isPacked });
cpSync(join(root, "cli/README.md"), join(staged, "README.md"));
writeManifest(staged, "cli", ({ dependencies: { valibot: _, ...needed }, ...own }, version) => ({
  ...own,
  bin: { fedflat: "dist/cli/main.js" },
  dependencies: { fedflat: version, ...needed },
}));

cpSync(join(root, "cli/create"), create, { recursive: true });
cpSync(join(root, "LICENSE"), join(create, "LICENSE"));
const app = join(root, "examples/electron");
for (const path of ["main.js", "preload.cjs", "training.js", "renderer"])
  cpSync(join(app, path), join(create, "templates/electron", path), { recursive: true });
cpSync(join(app, "renderer/style.css"), join(create, "templates/web/style.css"));
writeManifest(create, "cli/create", (own) => own);

for (const source of [library, staged, create]) {
  const argv = ["pack", "--silent", "--pack-destination", destination];
  const name = execFileSync("npm", argv, { cwd: source, encoding: "utf8" }).trim();
  console.log(join(destination, name));
}

/** Puts fedflat into its stage: its own package.json without what only the repository needs. */
async function packLibrary() {
  const manifest = JSON.parse(read(join(root, "package.json")));
  const { private: _, workspaces, scripts, devDependencies, prettier, ...own } = manifest;
  const entries = Object.values(own.exports).flatMap(({ types, browser }) => [
    types,
    browser?.types,
  ]);
  const declarations = reached(entries.filter(Boolean).map((path) => join(root, path)));
  const bundled = readdirSync(dist)
    .filter((name) => /^client.*\.js$|\.wasm$/.test(name))
    .map((name) => join(dist, name));
  const page = join(dist, "aggregator/monitoring/dashboard/browser") + sep;
  const other = ["runtime", "aggregator"]
    .flatMap((room) => filesIn(join(dist, room)))
    .filter((file) => !file.startsWith(page) && !/\.d\.ts$|kernels\.\w+\.wasm$/.test(file));
  for (const file of [...declarations, ...bundled, ...other]) {
    const target = join(library, relative(root, file));
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, /\.(js|d\.ts)$/.test(file) ? ofLibrary(file) : readFileSync(file));
  }
  const code = [...other, ...filesIn(cli)].filter((file) => file.endsWith(".js"));
  writeFileSync(join(library, "dist/valibot.js"), await functionsOfValibot(code.map(read)));
  writeFileSync(join(library, "dist/valibot.d.ts"), typesOfValibot([...declarations].map(read)));
  for (const file of ["README.md", "LICENSE"]) cpSync(join(root, file), join(library, file));
  writeFileSync(join(library, "package.json"), `${JSON.stringify(own, null, 2)}\n`);
}

/** A compiled file or declaration of fedflat, which has valibot and the kernels in `dist/`. */
function ofLibrary(file) {
  const toDist = relative(dirname(file), dist).replaceAll(sep, "/") || ".";
  const text = file.endsWith(".d.ts") ? read(file) : script(file);
  return importedFrom(`${toDist}/valibot.js`, text).replace(
    /new URL\("\.\.\/wasm\/(kernels\.\w+\.wasm)"/g,
    `new URL("${toDist}/$1"`,
  );
}

/** A script without its docstrings. */
function script(file) {
  return read(file).replace(DOCSTRINGS, (text) => (text.includes("@license") ? text : ""));
}

/** The declarations that these reach by their imports, with themselves. */
function reached(declarations, seen = new Set()) {
  for (const file of declarations) {
    if (seen.has(file)) continue;
    seen.add(file);
    const named = [...read(file).matchAll(IMPORTS)].map(([, , target]) =>
      resolve(dirname(file), target.replace(/\.js$/, ".d.ts")),
    );
    reached(named, seen);
  }
  return seen;
}

/** A compiled file of cli/ whose imports from outside of it name the files of fedflat. */
function ofCommandLine(file) {
  const text = importedFrom("fedflat/internal/valibot.js", script(file));
  return text.replace(IMPORTS, (whole, keyword, target) => {
    const path = resolve(dirname(file), target);
    if (path.startsWith(cli + sep)) return whole;
    return `${keyword}"fedflat/internal/${relative(dist, path).replaceAll(sep, "/")}"`;
  });
}

/**
 * Writes a package.json: what `finished` makes of the folder's own, and what is the same for all
 * packages.
 */
function writeManifest(stage, directory, finished) {
  const parsed = (path) => JSON.parse(read(join(root, path)));
  const { version, license, engines, ...main } = parsed("package.json");
  const { homepage, bugs, repository, publishConfig } = main;
  const { private: _, ...own } = parsed(`${directory}/package.json`);
  const manifest = {
    ...finished(own, version),
    ...{ version, license, engines, homepage, bugs },
    repository: { ...repository, directory },
    publishConfig,
  };
  writeFileSync(join(stage, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`);
}
