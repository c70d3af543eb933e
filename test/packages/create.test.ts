import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test, type TestContext } from "node:test";
import { printable, printableLines } from "../../runtime/protocol/printable.js";
import { launchChromium, withoutChromium } from "../bundle/chromium.js";
import { startInStandIn } from "../examples/electron-stand-in.js";
import { emptyProject, packInto, unpackInto, type PackageName } from "./packed.js";

// Each template as a newcomer has it: `create-fedflat` out of its tarball writes the folder, the
// packages that it names are unpacked from theirs, and `npm start` runs.

const { folder, remove } = emptyProject("create");
after(remove);
const tarballs = packInto(folder);
unpackInto(folder, { "create-fedflat": tarballs["create-fedflat"] });
const CREATE = join(folder, "node_modules/create-fedflat/create.js");

const create = (...argv: string[]) =>
  spawnSync(process.execPath, [CREATE, ...argv], { cwd: folder, encoding: "utf8" });

interface Manifest {
  readonly name: string;
  readonly scripts: Readonly<Record<string, string>>;
  readonly dependencies: Readonly<Partial<Record<PackageName, string>>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
}

const manifestOf = (project: string) =>
  JSON.parse(readFileSync(join(project, "package.json"), "utf8")) as Manifest;

/** A new folder of a template, with what its package.json names. */
function project(t: TestContext, template: string, linked: readonly string[] = []): string {
  const name = `my-${template}`;
  const { status, stdout, stderr } = create(name, template, "--from", folder);
  assert.deepEqual([status, stderr], [0, ""]);
  assert.match(stdout, new RegExp(`cd ${name}\n +npm install\n +npm start`));
  const path = join(folder, name);
  t.after(() => rmSync(path, { recursive: true, force: true }));
  const named = Object.keys(manifestOf(path).dependencies) as PackageName[];
  unpackInto(path, Object.fromEntries(named.map((each) => [each, tarballs[each]])), linked);
  return path;
}

/** Runs a script of the package.json, and gives its output as it comes. */
function run(t: TestContext, path: string, script: string, env: NodeJS.ProcessEnv = {}) {
  const [program, ...argv] = manifestOf(path).scripts[script].split(" ");
  const child = spawn(program === "node" ? process.execPath : program, argv, {
    cwd: path,
    detached: true,
    env: {
      ...process.env,
      FEDFLAT_PORT: "0",
      PATH: `${join(path, "node_modules/.bin")}:${process.env["PATH"]}`,
      ...env,
    },
  });
  // A group of its own, so that what it has started ends with it.
  t.after(() => {
    try {
      process.kill(-child.pid!, "SIGKILL");
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, "ESRCH");
    }
  });
  let output = "";
  const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (text) => (output += String(text)));
  const until = (pattern: RegExp) =>
    new Promise<RegExpExecArray>((resolve, reject) => {
      const look = () => {
        const match = pattern.exec(output);
        if (match !== null) resolve(match);
      };
      child.stdout.on("data", look);
      look();
      void ended.then(() => reject(new Error(`ended without ${pattern}: ${output}`)));
    });
  return { child, ended, until, output: () => output };
}

test("a gateway's folder runs at once: ten rounds of two gateways, and a model that has learned", async (t) => {
  const path = project(t, "gateway");
  const { ended, output } = run(t, path, "start");
  assert.equal(await ended, 0, output());
  assert.match(output(), /^Round 10: 2 took part/m);
  const rights = [...output().matchAll(/right for (\d+) of 200 new examples/g)];
  assert.equal(rights.length, 2, output());
  for (const [, right] of rights) assert.ok(Number(right) > 150, right);
});

test(
  "a gateway's folder that is stopped as a service is leaves no gateway running",
  // A gateway that is left dials for ever.
  { timeout: 120_000 },
  async (t) => {
    const path = project(t, "gateway");
    const { child, ended, until, output } = run(t, path, "start");
    await until(/: connected/);
    child.kill("SIGTERM");
    // Its output ends when the last of its processes has.
    assert.equal(await ended, 0, output());
  },
);

test("own data are one edit away: another network, and examples of other classes", async (t) => {
  const path = project(t, "gateway");
  writeFileSync(
    join(path, "data.js"),
    `export const model = {
       description: { input: [2], layers: [{ type: "dense", units: 2 }] },
       classes: ["low", "high"],
     };
     export const examples = () => {
       const y = Array.from({ length: 200 }, (_, i) => i % 2);
       return { x: y.map((high, i) => (high ? [1 + (i % 5), 0] : [0, 1 + (i % 5)])), y };
     };`,
  );
  const { ended, output } = run(t, path, "start");
  assert.equal(await ended, 0, output());
  assert.match(output(), /^Round 10: 2 took part/m);
});

test("an aggregator whose port is taken says so in a sentence", async (t) => {
  const path = project(t, "gateway");
  const first = run(t, path, "aggregator");
  const [, port] = await first.until(/aggregator is at ws:\/\/127.0.0.1:(\d+)/);
  const second = run(t, path, "aggregator", { FEDFLAT_PORT: port });
  assert.equal(await second.ended, 1);
  assert.match(second.output(), /^aggregator: .*\n$/);
  first.child.kill("SIGTERM");
  assert.equal(await first.ended, 0, first.output());
});

test(
  "a page's folder runs at once: a tab trains beside the neighbour, and its build does too",
  { skip: withoutChromium },
  async (t) => {
    const path = project(t, "web", ["vite"]);
    const running = run(t, path, "start", { PORT: "0" });
    const [, url] = await running.until(/Open (http:\S+)/);
    const browser = await launchChromium();
    t.after(() => browser.close());
    const page = await browser.newPage();
    const said: string[] = [];
    page.on("pageerror", ({ message }) => said.push(message));
    page.on("console", (message) => {
      if (message.type() === "error") said.push(message.text());
    });
    await page.goto(url);
    await page.getByText("All 10 rounds are done.").waitFor({ timeout: 120_000 });
    await page.locator("#round", { hasText: /^10$/ }).waitFor();
    const accuracy = parseFloat((await page.locator("#accuracy").textContent())!);
    assert.ok(accuracy > 75, String(accuracy));
    assert.deepEqual(said, []);
    running.child.kill("SIGTERM");

    const vite = join(path, "node_modules/vite/bin/vite.js");
    const built = spawnSync(process.execPath, [vite, "build"], { cwd: path, encoding: "utf8" });
    assert.equal(built.status, 0, built.stderr);
    assert.match(readdirSync(join(path, "dist/assets")).join("\n"), /worker.*\.js[^]*\.wasm/);
  },
);

test(
  "an Electron app's folder runs at once, here in the stand-in for Electron",
  { skip: withoutChromium },
  async (t) => {
    const path = project(t, "electron");
    // What start.js starts, but for the binary.
    const aggregator = run(t, path, "aggregator");
    const [, url] = await aggregator.until(/aggregator is at (\S+);/);
    const neighbour = spawn(process.execPath, ["client.js"], {
      cwd: path,
      env: { ...process.env, FEDFLAT_URL: url, FEDFLAT_NAME: "neighbour" },
    });
    t.after(() => neighbour.kill("SIGKILL"));
    process.env["FEDFLAT_URL"] = url;
    const browser = await launchChromium();
    t.after(() => browser.close());
    const context = await browser.newContext();
    const standIn = await startInStandIn(path, context);
    t.after(() => standIn.end());
    const page = await standIn.window;
    await page.getByText("finished: All 10 rounds are done.").waitFor({ timeout: 120_000 });
    await page.getByText(/Round 10/).waitFor();
    assert.ok(parseFloat((await page.locator("#accuracy").textContent())!) > 75);
    assert.equal(await aggregator.ended, 0, aggregator.output());
    assert.match(aggregator.output(), /^Round 10: 2 took part/m);
  },
);

test("an experiment's folder runs at once, and its table has two methods", async (t) => {
  const path = project(t, "experiment");
  mkdirSync(join(path, "node_modules/.bin"));
  const main = join(path, "node_modules/fedflat-cli/dist/cli/main.js");
  chmodSync(main, 0o755);
  symlinkSync(main, join(path, "node_modules/.bin/fedflat"));
  const { ended, output } = run(t, path, "start");
  assert.equal(await ended, 0, output());
  const results = readFileSync(join(path, "results/results.md"), "utf8");
  for (const method of ["fedavg", "fedavg \\+ MAN"]) {
    const [, share] = new RegExp(`^\\| ${method} \\| (\\d+\\.\\d+)`, "m").exec(results)!;
    assert.ok(Number(share) > 80, results);
  }
});

test("without tarballs a folder asks the registry for this version, under the folder's name", (t) => {
  const path = join(folder, "My Things");
  t.after(() => rmSync(path, { recursive: true }));
  assert.equal(create("My Things", "experiment").status, 0);
  const { name, dependencies } = manifestOf(path);
  const own = JSON.parse(
    readFileSync(join(folder, "node_modules/create-fedflat/package.json"), "utf8"),
  ) as { version: string };
  assert.equal(name, "my-things");
  assert.deepEqual(dependencies, { "fedflat-cli": `^${own.version}` });
  assert.ok(readdirSync(path).includes(".gitignore"));
});

/** Each character that fedflat hides in text of others, but the zero that no argument can hold. */
const HIDDEN = Array.from({ length: 0xe01ff }, (_, i) => i + 1)
  .filter((code) => code < 0xd800 || code > 0xdfff)
  .map((code) => String.fromCodePoint(code))
  .filter((character) => printable(character) !== character);

test("what cannot be created is a sentence, and writes nothing", () => {
  const full = mkdtempSync(join(tmpdir(), "fedflat-full-"));
  after(() => rmSync(full, { recursive: true }));
  writeFileSync(join(full, "mine.txt"), "mine");
  for (const [argv, sentence] of [
    [["new", "gatway"], /"template" expected gateway, web, electron, experiment, got "gatway"/],
    [[full, "gateway"], /is not empty; nothing was written/],
    [["", "gateway"], /is not empty; nothing was written/],
    [[join(full, "mine.txt"), "gateway"], /is not a folder/],
    [[join(full, "mine.txt", "in"), "gateway"], /ENOTDIR|not a folder/],
    [["new"], /expected a folder and a template\. Usage: npm create fedflat FOLDER TEMPLATE/],
    [["new", "web", "more"], /expected a folder and a template, got new web more/],
    [["new", "web", "--from", full], /"--from" expected a folder with fedflat-VERSION.tgz/],
    [["new", "web", "--nonsense"], /--nonsense/],
    [["new", "\u001b[31mred"], /got "\?\[31mred"/],
    [["new", "web", "--from", "\u001b[31mred"], /got "\?\[31mred"/],
    [["new", "--\u001b[31mred"], /\?\[31mred/],
    [[join(full, "mine.txt", "\u001b[31mred"), "web"], /ENOTDIR|not a folder/],
    [["new", `a${HIDDEN.join("")}b`], new RegExp(`got "a\\?{${HIDDEN.length}}b"`)],
  ] as const) {
    const { status, stdout, stderr } = create(...argv);
    assert.deepEqual([status, stdout], [2, ""], argv.join(" "));
    assert.match(stderr, sentence);
    assert.match(stderr, /^create-fedflat: [^\n]*\n$/);
    assert.equal(printableLines(stderr), stderr);
  }
  assert.deepEqual(readdirSync(full), ["mine.txt"]);
  assert.ok(!readdirSync(folder).includes("new"));
});

test("a folder that holds nothing but a new repository is taken", (t) => {
  const path = join(folder, "begun");
  mkdirSync(join(path, ".git"), { recursive: true });
  t.after(() => rmSync(path, { recursive: true }));
  assert.equal(create("begun", "gateway").status, 0);
});
