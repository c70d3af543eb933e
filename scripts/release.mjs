// npm run release -- --dry-run     says whether this tree can be published
// npm run release                  publishes fedflat, then fedflat-cli and create-fedflat, where it can
// With --built it packs dist/ as it is.
// Run by the release workflow of the repository's host, which alone can give npm the provenance.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    "dry-run": { type: "boolean", default: false },
    built: { type: "boolean", default: false },
  },
});
const root = fileURLToPath(new URL("../", import.meta.url));
const run = (program, ...argv) =>
  execFileSync(program, argv, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
const read = (path) => readFileSync(join(root, path), "utf8");
const unpackedFile = (tarball, file) => run("tar", "-xzOf", tarball, `package/${file}`);

const { version, repository, publishConfig } = JSON.parse(read("package.json"));
const folder = mkdtempSync(join(tmpdir(), "fedflat-release-"));
const tarballs = [];

/** What has to hold, each with the sentence that is said where it does not. */
const CHECKS = [
  ["the version is a semantic one", () => semantic(version)],
  ["the lockfile has the same version", () => same(JSON.parse(read("package-lock.json")).version)],
  ["the changelog begins with this version and a date", changelog],
  ["nothing is uncommitted", () => empty(run("git", "status", "--porcelain"))],
  ["the commit is tagged with the version", tag],
  ["the repository is the one that provenance will name", origin],
  ["npm is asked for provenance", () => publishConfig?.provenance === true || "publishConfig"],
  ["this version is not on npm yet", unpublished],
  ["all packages can be built and packed", pack],
  ["each tarball is of this version, and has its licence and readme", contents],
];

try {
  const failed = [];
  for (const [what, check] of CHECKS) {
    const answer = attempt(check);
    if (answer !== true) failed.push(what);
    console.log(answer === true ? `ok      ${what}` : `not ok  ${what}: ${answer}`);
  }
  if (failed.length > 0) {
    console.error(`fedflat ${version} cannot be published yet.`);
    process.exitCode = 1;
  } else if (values["dry-run"]) {
    console.log(`fedflat ${version} can be published: npm run release`);
  } else {
    // The library first: the command line depends on it.
    for (const tarball of tarballs)
      execFileSync("npm", ["publish", "--provenance", "--access", "public", tarball], {
        cwd: root,
        stdio: "inherit",
      });
  }
} finally {
  rmSync(folder, { recursive: true });
}

/** True, or why not. */
function attempt(check) {
  try {
    return check();
  } catch (error) {
    return String(error.stderr || error.message)
      .trim()
      .split("\n")[0];
  }
}

function semantic(text) {
  return /^\d+\.\d+\.\d+(-[0-9a-z.-]+)?$/.test(text) || `got ${text}`;
}

function same(text) {
  return text === version || `expected ${version}, got ${text}`;
}

function empty(text) {
  return text === "" || `${text.trimEnd().split("\n").length} files differ from the commit`;
}

function changelog() {
  const [, heading] = /^## (.*)$/m.exec(read("CHANGELOG.md")) ?? [];
  const expected = new RegExp(`^${version.replaceAll(".", "\\.")} \\(\\d{4}-\\d{2}-\\d{2}\\)$`);
  return expected.test(heading) || `expected "## ${version} (YYYY-MM-DD)", got "## ${heading}"`;
}

function tag() {
  const tags = run("git", "tag", "--points-at", "HEAD").split("\n");
  return tags.includes(`v${version}`) || `expected the tag v${version} on this commit`;
}

function origin() {
  const plain = (url) =>
    url
      .trim()
      .replace(/^(git\+)?(https?:\/\/|ssh:\/\/git@|git@)/, "")
      .replace(":", "/")
      .replace(/\.git$/, "");
  const remote = run("git", "remote", "get-url", "origin");
  return (
    plain(remote) === plain(repository.url) || `expected ${repository.url}, got ${remote.trim()}`
  );
}

function unpublished() {
  for (const name of ["fedflat", "fedflat-cli", "create-fedflat"])
    try {
      const found = run("npm", "view", `${name}@${version}`, "version").trim();
      if (found !== "") return `${name} ${found} is there`;
    } catch (error) {
      if (!`${error.stdout}${error.stderr}`.includes("E404")) throw error;
    }
  return true;
}

function pack() {
  if (!values.built) run("npm", "run", "--silent", "build");
  tarballs.push(...run(process.execPath, "scripts/pack.mjs", folder).trim().split("\n"));
  return true;
}

function contents() {
  for (const tarball of tarballs) {
    const manifest = JSON.parse(unpackedFile(tarball, "package.json"));
    if (manifest.version !== version) return `${manifest.name} is ${manifest.version}`;
    for (const file of ["LICENSE", "README.md"]) unpackedFile(tarball, file);
  }
  return tarballs.length === 3 || "expected three tarballs";
}
