// node scripts/pack.mjs FOLDER, after npm run build: puts the tarballs of all packages into FOLDER.
//   fedflat      the repository's own package.json and what its "files" name
//   fedflat-cli  the compiled command line, documents, examples with the demo's data, and
//                cli/package.json with all that is the same for all packages
//   create-fedflat  cli/create/, whose Electron template has the example's app
// In the repository cli/ imports files of runtime/ and aggregator/ beside it; in fedflat-cli these
// imports name the same files in fedflat, by the export `fedflat/internal/*`. What that export holds
// may change with every version, so fedflat-cli depends on exactly the version it was packed with.
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../", import.meta.url));
const dist = join(root, "dist");
const cli = join(dist, "cli");
const [folder] = process.argv.slice(2);
if (folder === undefined) {
  console.error("usage: node scripts/pack.mjs FOLDER");
  process.exit(2);
}
const destination = resolve(folder);
const staged = join(destination, "fedflat-cli");
const create = join(destination, "create-fedflat");

for (const stage of [staged, create]) {
  rmSync(stage, { recursive: true, force: true });
  mkdirSync(stage, { recursive: true });
}
for (const file of readdirSync(cli, { recursive: true }).filter((name) => name.endsWith(".js"))) {
  const target = join(staged, "dist/cli", file);
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(target, packed(join(cli, file)));
}
const notApi = (path) => path !== join(root, "docs/api");
for (const path of ["LICENSE", "docs", "examples"])
  cpSync(join(root, path), join(staged, path), { recursive: true, filter: notApi });
cpSync(join(root, "cli/README.md"), join(staged, "README.md"));
writeManifest(staged, "cli", ({ dependencies, ...own }, version) => ({
  ...own,
  bin: { fedflat: "dist/cli/main.js" },
  dependencies: { fedflat: version, ...dependencies },
}));

cpSync(join(root, "cli/create"), create, { recursive: true });
cpSync(join(root, "LICENSE"), join(create, "LICENSE"));
const app = join(root, "examples/electron");
for (const path of ["main.js", "preload.cjs", "training.js", "renderer"])
  cpSync(join(app, path), join(create, "templates/electron", path), { recursive: true });
cpSync(join(app, "renderer/style.css"), join(create, "templates/web/style.css"));
writeManifest(create, "cli/create", (own) => own);

for (const source of [root, staged, create]) {
  const argv = ["pack", "--silent", "--pack-destination", destination];
  const name = execFileSync("npm", argv, { cwd: source, encoding: "utf8" }).trim();
  console.log(join(destination, name));
}

/** A compiled file whose imports from outside of cli/ name the files of fedflat. */
function packed(file) {
  return readFileSync(file, "utf8").replace(
    /\b(from |import |import\()"(\.\.?\/[^"]+)"/g,
    (whole, keyword, target) => {
      const path = resolve(dirname(file), target);
      if (path.startsWith(cli + sep)) return whole;
      return `${keyword}"fedflat/internal/${relative(dist, path).replaceAll(sep, "/")}"`;
    },
  );
}

/**
 * Writes a package.json: what `finished` makes of the folder's own, and what is the same for all
 * packages.
 */
function writeManifest(stage, directory, finished) {
  const read = (path) => JSON.parse(readFileSync(join(root, path), "utf8"));
  const { version, license, engines, ...main } = read("package.json");
  const { homepage, bugs, repository, publishConfig } = main;
  const { private: _, ...own } = read(`${directory}/package.json`);
  const manifest = {
    ...finished(own, version),
    ...{ version, license, engines, homepage, bugs },
    repository: { ...repository, directory },
    publishConfig,
  };
  writeFileSync(join(stage, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`);
}
