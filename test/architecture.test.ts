import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

// What each room may import besides itself; docs/architecture.md draws it. `errors` is the floor
// under all of them.
const MAY_IMPORT: Record<string, readonly string[]> = {
  errors: [],
  tensors: [],
  protocol: [],
  platform: [],
  wasm: ["platform"],
  algorithms: ["tensors"],
  codecs: ["tensors"],
  data: ["tensors"],
  kernels: ["wasm", "tensors"],
  models: ["kernels", "wasm", "tensors", "data"],
  training: ["models", "kernels", "wasm", "algorithms", "data", "tensors", "codecs", "platform"],
  flatness: ["training", "models", "wasm", "data", "tensors"],
  connection: ["protocol", "platform", "tensors"],
  client: [
    "connection",
    "training",
    "models",
    "algorithms",
    "codecs",
    "data",
    "tensors",
    "protocol",
    "platform",
    "wasm",
  ],
  aggregator: [
    "client",
    "training",
    "models",
    "algorithms",
    "codecs",
    "data",
    "tensors",
    "protocol",
    "platform",
    "wasm",
  ],
  cli: [
    "aggregator",
    "client",
    "training",
    "models",
    "algorithms",
    "codecs",
    "data",
    "tensors",
    "protocol",
    "platform",
    "wasm",
    "kernels",
    "connection",
    "flatness",
  ],
};

// Files of the public surface and a worker's entry bind rooms together and stand beside the arrows.
const BINDERS = /^runtime\/((index|node|browser|client)|platform\/(node|browser)-worker)\.ts$/;
const PLATFORM_LEAF = /^runtime\/platform\//;

const root = fileURLToPath(new URL("../../", import.meta.url));

function sources(folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory()
      ? sources(join(folder, entry.name))
      : entry.name.endsWith(".ts")
        ? [join(folder, entry.name)]
        : [],
  );
}

function roomOf(file: string): string {
  const [top, second] = file.split("/");
  if (top !== "runtime") return top;
  return second.endsWith(".ts") ? second.slice(0, -3) : second;
}

function importsOf(file: string): string[] {
  const text = readFileSync(join(root, file), "utf8");
  return [...text.matchAll(/(?:from|import)\s*\(?\s*"(\.[^"]+)"/g)].map(([, target]) =>
    relative(root, join(root, dirname(file), target)).replace(/\.js$/, ".ts"),
  );
}

const files = ["runtime", "aggregator", "cli"]
  .filter((folder) => existsSync(join(root, folder)))
  .flatMap(sources);

test("every import between rooms runs one way", () => {
  const wrong: string[] = [];
  for (const file of files) {
    const room = roomOf(file);
    for (const target of importsOf(file)) {
      const other = roomOf(target);
      if (other === room || other === "errors" || BINDERS.test(file)) continue;
      const allowed = PLATFORM_LEAF.test(file)
        ? ["wasm", "tensors", "protocol"]
        : (MAY_IMPORT[room] ?? []);
      if (!allowed.includes(other)) wrong.push(`${file} -> ${target}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test("each package imports the packages it depends on, and uses all of them", () => {
  const read = (path: string) =>
    JSON.parse(readFileSync(join(root, path), "utf8")) as Record<string, Record<string, string>>;
  const main = read("package.json");
  const names = (...records: Record<string, string>[]) => records.flatMap(Object.keys).sort();
  // The live page is bundled when it is built.
  const bundled = /^aggregator\/monitoring\/dashboard\/browser\//;
  const used = (folders: RegExp) => {
    const found = files
      .filter((file) => folders.test(file) && !bundled.test(file))
      .flatMap((file) => [
        ...readFileSync(join(root, file), "utf8").matchAll(
          /(?:\b(?:from|import) |\b(?:import|resolve)\()"((?:@[^"/]+\/)?[^".#/:]+)(?:\/[^"]*)?"/g,
        ),
      ])
      .map(([, name]) => name)
      .filter((name) => name !== "fedflat");
    return [...new Set(found)].sort();
  };
  assert.deepEqual(
    used(/^(runtime|aggregator)\//),
    names(main.dependencies, main.peerDependencies),
  );
  assert.deepEqual(used(/^cli\//), names(read("cli/package.json").dependencies));
});

test("no circle among files", () => {
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]) => {
    const at = path.indexOf(file);
    assert.equal(at, -1, [...path.slice(at), file].join(" -> "));
    if (done.has(file)) return;
    for (const target of importsOf(file)) visit(target, [...path, file]);
    done.add(file);
  };
  for (const file of files) visit(file, []);
});

test("runtime never names the aggregator, the command line, or Node outside its platform", () => {
  for (const file of files.filter((file) => file.startsWith("runtime/"))) {
    for (const target of importsOf(file))
      assert.ok(!/^(aggregator|cli)\//.test(target), `${file} -> ${target}`);
    if (/^runtime\/(node\.ts|platform\/node)/.test(file)) continue;
    assert.doesNotMatch(readFileSync(join(root, file), "utf8"), /from "node:/, file);
  }
});
