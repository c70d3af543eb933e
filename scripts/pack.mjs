// node scripts/pack.mjs FOLDER, after npm run build: puts the tarballs of both packages into FOLDER.
//   fedflat      the repository's own package.json and what its "files" name
//   fedflat-cli  the compiled command line, documents, examples with the demo's data, and
//                cli/package.json with all that is the same for both packages
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

rmSync(staged, { recursive: true, force: true });
mkdirSync(staged, { recursive: true });
for (const file of readdirSync(cli, { recursive: true }).filter((name) => name.endsWith(".js"))) {
  const target = join(staged, "dist/cli", file);
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(target, packed(join(cli, file)));
}
const notApi = (path) => path !== join(root, "docs/api");
for (const path of ["LICENSE", "docs", "examples"])
  cpSync(join(root, path), join(staged, path), { recursive: true, filter: notApi });
cpSync(join(root, "cli/README.md"), join(staged, "README.md"));
writeFileSync(join(staged, "package.json"), `${JSON.stringify(manifest(), null, 2)}\n`);

for (const source of [root, staged]) {
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

/** The package.json of fedflat-cli. */
function manifest() {
  const read = (path) => JSON.parse(readFileSync(join(root, path), "utf8"));
  const { version, license, engines, ...main } = read("package.json");
  const { homepage, bugs, repository, publishConfig } = main;
  const { private: _, dependencies, ...own } = read("cli/package.json");
  return {
    ...own,
    bin: { fedflat: "dist/cli/main.js" },
    version,
    license,
    engines,
    homepage,
    bugs,
    repository: { ...repository, directory: "cli" },
    publishConfig,
    dependencies: { fedflat: version, ...dependencies },
  };
}
