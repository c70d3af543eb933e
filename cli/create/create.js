#!/usr/bin/env node
// npm create fedflat [FOLDER] [TEMPLATE] [-- --from FOLDER]
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { renameSync, statSync, writeFileSync } from "node:fs";
import { basename, join, relative, resolve } from "node:path";
import { createInterface } from "node:readline/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const USAGE = "Usage: npm create fedflat FOLDER TEMPLATE";
/** Each template, what `npm start` runs in it, and the file that one's own data go into. */
const TEMPLATES = {
  gateway: { starts: "an aggregator and two gateways on this machine", data: "data.js" },
  web: { starts: "an aggregator and a page that trains in each open tab", data: "data.js" },
  electron: { starts: "an aggregator and an app that trains in the background", data: "data.js" },
  experiment: { starts: "six simulated federations: tables and pictures", data: "data/" },
};
const NAMES = Object.keys(TEMPLATES);
const here = (path) => fileURLToPath(new URL(path, import.meta.url));

/** What fedflat hides in text of others: what a terminal obeys, marks of direction, no room. */
const HIDDEN =
  /[\p{Cc}\u2028\u2029\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\u{e0000}-\u{e007f}]/gu;

/** A mistake of the person at the terminal; only its message is printed. */
class Mistake extends Error {}

try {
  await main(process.argv.slice(2));
} catch (error) {
  const known = error instanceof Mistake || typeof error.code === "string";
  console.error(known ? `create-fedflat: ${printable(error.message)}` : error);
  process.exitCode = 2;
}

async function main(argv) {
  const { values, positionals } = parseArgs({
    args: argv,
    allowPositionals: true,
    options: { from: { type: "string" }, help: { type: "boolean", short: "h" } },
  });
  if (values.help) {
    console.log(`${USAGE}\n`);
    for (const name of NAMES) console.log(`  ${name.padEnd(12)}${TEMPLATES[name].starts}`);
    console.log(
      "\n  --from FOLDER  takes fedflat from tarballs in a folder, not from the registry",
    );
    return;
  }
  if (positionals.length > 2)
    throw new Mistake(`expected a folder and a template, got ${positionals.join(" ")}`);
  // What is given is checked before anything is asked.
  if (positionals[1] !== undefined) checkTemplate(positionals[1]);
  if (positionals[0] !== undefined) checkFolder(positionals[0]);
  const given = positionals.length === 2 ? positionals : await ask(positionals);
  const [folder, template] = given;
  checkFolder(folder);
  checkTemplate(template);
  const tarballs = values.from === undefined ? undefined : tarballsIn(values.from);
  write(resolve(folder), template, tarballs);

  const { starts, data } = TEMPLATES[template];
  const from = relative(process.cwd(), resolve(folder));
  console.log(`${printable(folder || ".")} is ready. To run it:\n`);
  if (from !== "") console.log(`  cd ${quoted(from)}`);
  console.log(`  npm install\n  npm start      # ${starts}\n`);
  console.log(`Your own data go into ${data}; README.md says how.`);
}

/** Asks for what was not given. @throws Mistake where nobody can be asked */
async function ask([folder]) {
  if (!process.stdin.isTTY)
    throw new Mistake(`expected a folder and a template. ${USAGE} (${NAMES.join(", ")})`);
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  terminal.on("SIGINT", () => process.exit(130));
  try {
    folder ??= (await terminal.question("Folder: (my-federation) ")).trim() || "my-federation";
    checkFolder(folder);
    for (const name of NAMES) console.log(`  ${name.padEnd(12)}${TEMPLATES[name].starts}`);
    const template = (await terminal.question(`Template: (${NAMES[0]}) `)).trim() || NAMES[0];
    return [folder, template];
  } finally {
    terminal.close();
  }
}

function checkTemplate(name) {
  if (!NAMES.includes(name))
    throw new Mistake(`"template" expected ${NAMES.join(", ")}, got "${name}"`);
}

function checkFolder(folder) {
  // What is written to, which an empty text is too: the folder that this runs in.
  const path = resolve(folder);
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat !== undefined && !stat.isDirectory()) throw new Mistake(`"${path}" is not a folder`);
  // A repository that was just begun has only this.
  if (stat !== undefined && readdirSync(path).some((name) => name !== ".git"))
    throw new Mistake(`"${path}" is not empty; nothing was written`);
}

/** The newest tarball of each package in a folder, as npm names them: fedflat-0.1.0.tgz. */
function tarballsIn(folder) {
  const files = existsSync(folder) ? readdirSync(folder) : [];
  const find = (name) => {
    const found = files.filter((file) => new RegExp(`^${name}-\\d.*\\.tgz$`).test(file)).sort();
    if (found.length === 0)
      throw new Mistake(`"--from" expected a folder with ${name}-VERSION.tgz, got "${folder}"`);
    return `file:${resolve(folder, found.at(-1)).replaceAll("\\", "/")}`;
  };
  return { fedflat: find("fedflat"), "fedflat-cli": find("fedflat-cli") };
}

/** Writes the template; what was begun is taken away again where it cannot be finished. */
function write(target, template, tarballs) {
  const isNew = !existsSync(target);
  const before = new Set(isNew ? [] : readdirSync(target));
  try {
    mkdirSync(target, { recursive: true });
    for (const part of template === "experiment" ? [template] : ["shared", template])
      cpSync(here(`templates/${part}`), target, { recursive: true });
    // npm leaves out files of this name when it packs.
    renameSync(join(target, "gitignore"), join(target, ".gitignore"));
    const manifest = JSON.parse(readFileSync(join(target, "package.json"), "utf8"));
    const finished = { name: packageName(target), ...manifest };
    finished.dependencies = { ...manifest.dependencies, ...versions(manifest, tarballs) };
    writeFileSync(join(target, "package.json"), `${JSON.stringify(finished, null, 2)}\n`);
  } catch (error) {
    for (const name of existsSync(target) ? readdirSync(target) : [])
      if (!before.has(name)) rmSync(join(target, name), { recursive: true });
    if (isNew) rmSync(target, { recursive: true, force: true });
    throw error;
  }
}

/** Where the packages of fedflat come from: this version of the registry, or tarballs. */
function versions({ dependencies }, tarballs) {
  const { version } = JSON.parse(readFileSync(here("package.json"), "utf8"));
  // A tarball of the command line asks for the library's beside it.
  if (tarballs !== undefined) return "fedflat-cli" in dependencies ? tarballs : only(tarballs);
  const ours = Object.keys(dependencies).filter((name) => /^fedflat(-cli)?$/.test(name));
  return Object.fromEntries(ours.map((name) => [name, `^${version}`]));
}

function only({ fedflat }) {
  return { fedflat };
}

/** A name that npm takes, made of the folder's. */
function packageName(target) {
  const name = basename(target)
    .toLowerCase()
    .replace(/[^a-z0-9-]+/g, "-")
    .replace(/^-+|-+$/g, "");
  return name || "my-federation";
}

function printable(text) {
  return text.replace(HIDDEN, "?");
}

function quoted(path) {
  return /^[\w./-]+$/.test(path) ? path : `'${printable(path).replaceAll("'", "'\\''")}'`;
}
