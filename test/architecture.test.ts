import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { parsers } from "prettier/plugins/typescript";

// What each room may import in addition to itself; docs/architecture.md draws it.
const MAY_IMPORT: Record<string, readonly string[]> = {
  tensors: [],
  protocol: [],
  platform: [],
  wasm: ["platform", "tensors"],
  algorithms: ["tensors"],
  codecs: ["tensors"],
  data: ["tensors"],
  kernels: ["wasm", "tensors"],
  models: ["kernels", "wasm", "tensors", "data"],
  training: ["models", "kernels", "wasm", "algorithms", "data", "tensors", "codecs", "platform"],
  flatness: ["training", "models", "wasm", "data", "tensors"],
  connection: ["protocol", "platform", "tensors"],
  secure: ["connection", "protocol", "platform"],
  client: [
    "connection",
    "secure",
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
    "secure",
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
    "secure",
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

// The floor under all of them; its files import nothing.
const FLOOR = ["errors", "issues", "json", "serial", "crc", "worker-rpc"];

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
      if (other === room || FLOOR.includes(other) || BINDERS.test(file)) continue;
      const allowed = PLATFORM_LEAF.test(file)
        ? ["wasm", "tensors", "protocol"]
        : (MAY_IMPORT[room] ?? []);
      if (!allowed.includes(other)) wrong.push(`${file} -> ${target}`);
    }
  }
  assert.deepEqual(wrong, []);
});

// The aggregator's rooms from the ground up: a room imports those of earlier lines.
const FLOORS: readonly (readonly string[])[] = [
  ["settings", "log", "memory", "privacy"],
  ["rounds"],
  ["storage"],
  ["sessions", "aggregation"],
  ["clients"],
  ["run"],
  ["monitoring"],
  ["server"],
  ["index"],
];

test("every import among the aggregator's rooms leads down", () => {
  const roomIn = (file: string) => file.split("/")[1].replace(/\.ts$/, "");
  const floorOf = (file: string) => FLOORS.findIndex((rooms) => rooms.includes(roomIn(file)));
  const ours = files.filter((file) => file.startsWith("aggregator/"));
  const wrong = ours.flatMap((file) => {
    assert.ok(floorOf(file) >= 0, `${file} is in no room`);
    return importsOf(file)
      .filter((target) => target.startsWith("aggregator/") && roomIn(target) !== roomIn(file))
      .filter((target) => floorOf(target) >= floorOf(file))
      .map((target) => `${file} -> ${target}`);
  });
  assert.deepEqual(wrong, []);
});

test("the rounds decide without Node, timers and clocks", () => {
  for (const file of files.filter((file) => file.startsWith("aggregator/rounds/")))
    assert.doesNotMatch(
      readFileSync(join(root, file), "utf8"),
      /from "node:|\bset(Timeout|Interval|Immediate)\b|\bperformance\.|\bDate\b|\bMath\.random\b/,
      file,
    );
});

/** Lines that a function may have: one reads it at a stretch. */
const LONGEST = 120;

interface Syntax {
  readonly type: string;
  readonly loc: {
    readonly start: { readonly line: number };
    readonly end: { readonly line: number };
  };
  readonly id?: { readonly name?: string } | null;
  readonly key?: { readonly name?: string } | null;
}

const isSyntax = (value: unknown): value is Syntax =>
  typeof value === "object" && value !== null && "type" in value && "loc" in value;

/** The functions of a file that are too long; one without a name goes by what it belongs to. */
function longFunctions(node: Syntax, name = "?"): string[] {
  const own = node.id?.name ?? node.key?.name ?? name;
  const lines = node.loc.end.line - node.loc.start.line + 1;
  const isLong = /^(Arrow)?Function(Declaration|Expression)$/.test(node.type) && lines > LONGEST;
  const inner = Object.values(node)
    .flat()
    .filter(isSyntax)
    .flatMap((child) => longFunctions(child, own));
  return isLong ? [own, ...inner] : inner;
}

test("no function is longer than one reads at a stretch", async () => {
  const long: string[] = [];
  for (const file of files) {
    const text = readFileSync(join(root, file), "utf8");
    // To read a file's syntax takes long.
    if (text.split("\n").length <= LONGEST) continue;
    const syntax: Syntax = await parsers.typescript.parse(text, { filepath: file } as never);
    long.push(...longFunctions(syntax).map((name) => `${file} ${name}`));
  }
  assert.deepEqual(long, []);
});

test("no exported type has the name of another", () => {
  const places = new Map<string, string[]>();
  for (const file of files)
    for (const [, name] of readFileSync(join(root, file), "utf8").matchAll(
      /^export (?:abstract )?(?:interface|type|class) (\w+)/gm,
    ))
      places.set(name, [...(places.get(name) ?? []), file]);
  // The client has one name on every platform.
  places.delete("FederatedClient");
  assert.deepEqual(
    [...places].filter(([, found]) => found.length > 1),
    [],
  );
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
  // Packing puts the used part of valibot into the package.
  assert.deepEqual(
    used(/^(runtime|aggregator)\//),
    ["valibot", ...names(main.dependencies, main.peerDependencies)].sort(),
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
