import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, readdirSync, statSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { after, test } from "node:test";
import { repository } from "../cli/command.js";
import { emptyProject, packInto } from "./packed.js";

// The packages as npm itself installs them, with all they need from the registry.

const { folder, remove } = emptyProject("registry");
after(remove);
const tarballs = packInto(folder);

const online =
  spawnSync("npm", ["ping"], { timeout: 30_000, stdio: "ignore" }).status === 0
    ? false
    : "the npm registry cannot be reached";

const npm = (...argv: string[]) =>
  execFileSync("npm", [...argv, "--prefer-offline", "--no-audit", "--no-fund"], {
    cwd: folder,
    stdio: ["ignore", "ignore", "pipe"],
  });

const sizeOf = (path: string): number =>
  readdirSync(path, { recursive: true, encoding: "utf8" })
    .map((name) => statSync(join(path, name)))
    .filter((stat) => stat.isFile())
    .reduce((sum, { size }) => sum + size, 0);

/** A port that is free now. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

test("the tarballs stay within their budgets", () => {
  for (const [name, budget] of [
    ["fedflat", 0.9e6],
    ["fedflat-cli", 7.2e6],
    ["create-fedflat", 30e3],
  ] as const) {
    const { size } = statSync(tarballs[name]);
    assert.ok(size <= budget, `${name}: ${size} bytes, ${budget} allowed`);
  }
});

test(
  "npm install fedflat brings ws alone, and less than 3 MB, beside tfjs",
  { skip: online },
  () => {
    npm("install", tarballs.fedflat);
    const { packages } = JSON.parse(
      readFileSync(join(folder, "node_modules/.package-lock.json"), "utf8"),
    ) as {
      packages: Record<
        string,
        { dependencies?: Record<string, string>; peerDependencies?: Record<string, string> }
      >;
    };
    const all = Object.keys(packages).map((path) => path.replace(/^node_modules\//, ""));
    const ofTfjs = new Set<string>();
    const reach = (name: string): void => {
      if (ofTfjs.has(name) || !all.includes(name)) return;
      ofTfjs.add(name);
      const { dependencies, peerDependencies } = packages[`node_modules/${name}`];
      Object.keys({ ...dependencies, ...peerDependencies }).forEach(reach);
    };
    all.filter((name) => name.startsWith("@tensorflow/")).forEach(reach);
    const ours = all.filter((name) => !ofTfjs.has(name)).sort();
    assert.deepEqual(ours, ["fedflat", "ws"]);
    const sizes = ours.map((name) => [name, sizeOf(join(folder, "node_modules", name))] as const);
    const sum = sizes.reduce((total, [, size]) => total + size, 0);
    assert.ok(sum < 3e6, `${sum} bytes: ${sizes.join(" ")}`);
  },
);

test("npm install and npm start are all that a created folder needs", { skip: online }, () => {
  execFileSync("tar", ["-xzf", tarballs["create-fedflat"], "-C", folder]);
  const create = join(folder, "package/create.js");
  const project = join(folder, "gateways");
  execFileSync(process.execPath, [create, project, "gateway", "--from", folder]);
  npm("install", "--prefix", project);
  const env = { ...process.env, FEDFLAT_PORT: "0" };
  const output = execFileSync("npm", ["start"], { cwd: project, env, encoding: "utf8" });
  assert.match(output, /ended after 10 rounds/);
});

test(
  "the steps of the Dockerfile make an aggregator that is healthy",
  { skip: online },
  async () => {
    const dockerfile = readFileSync(repository("examples/service/Dockerfile"), "utf8").replace(
      /\\\n/g,
      "",
    );
    // Of a healthcheck, the command that it runs.
    const step = (name: string) => new RegExp(`^(?!#).*\\b${name} (.*)$`, "m").exec(dockerfile)![1];
    const prefix = join(folder, "global");
    const data = join(folder, "data");
    const [health, port] = [await freePort(), await freePort()];
    const here = (command: string) =>
      command
        .replaceAll("/tmp/packages", folder)
        .replaceAll("/data", data)
        .replaceAll("7401", String(health));
    mkdirSync(data);

    // All but what concerns the image alone: its cache, its folders and their owner.
    const install = /npm install [^&]*/.exec(step("RUN"))![0];
    assert.match(install, /fedflat-cli/);
    const env = {
      ...process.env,
      npm_config_prefix: prefix,
      npm_config_prefer_offline: "true",
      PATH: `${join(prefix, "bin")}:${process.env["PATH"]}`,
    };
    execFileSync("/bin/sh", ["-c", here(install)], { env, stdio: ["ignore", "ignore", "pipe"] });

    const [shell, ...argv] = (JSON.parse(step("ENTRYPOINT")) as string[]).map(here);
    const more = ["--model", "fashion-small", "--open-to-all", "--port", String(port)];
    const child = spawn(shell, [...argv, ...more], { env });
    let output = "";
    const ended = new Promise((resolve) => child.on("close", resolve));
    try {
      await new Promise<void>((resolve, reject) => {
        child.stderr.on("data", (text) => (output += String(text)));
        child.stdout.on("data", (text) => {
          output += String(text);
          if (/Listening/.test(output)) resolve();
        });
        void ended.then(() => reject(new Error(output)));
      });
      const [node, ...check] = (JSON.parse(step("CMD")) as string[]).map(here);
      assert.equal(node, "node");
      assert.equal(spawnSync(process.execPath, check).status, 0);
      child.kill("SIGTERM");
      assert.equal(await ended, 0, output);
    } finally {
      child.kill("SIGKILL");
    }
  },
);
