import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { repository, startNode } from "../cli/command.js";
import { emptyProject, packInto, unpackInto } from "./packed.js";

// What a newcomer has: an empty folder, and in its node_modules the two packages as they are
// published. Nothing here reads the repository's own files but the documents whose code it runs.

const { folder, remove } = emptyProject("installed");
after(remove);
unpackInto(folder, packInto(folder), ["@types/node", "undici-types"]);

const MAIN = join(folder, "node_modules/fedflat-cli/dist/cli/main.js");
const FASHION = join(folder, "node_modules/fedflat-cli/examples/data/fashion-mnist");
const fedflat = (...argv: string[]) => startNode(MAIN, ...argv);

const tiny = join(folder, "tiny.json");
writeFileSync(
  tiny,
  JSON.stringify({
    input: [28, 28, 1],
    layers: [{ type: "maxPool", size: 4 }, { type: "flatten" }, { type: "dense", units: 10 }],
  }),
);

/** The blocks of code of a document, in one language. */
const codeOf = (document: string, language: string): string[] =>
  [
    ...readFileSync(repository(document), "utf8").matchAll(
      new RegExp(`^\`\`\`${language}\n([^]*?)^\`\`\``, "gm"),
    ),
  ].map(([, code]) => code);

function write(name: string, text: string): string {
  const file = join(folder, name);
  writeFileSync(file, text);
  return file;
}

test("serve and join train a round, and predict reads its model", async () => {
  const run = join(folder, "run");
  const server = fedflat(
    ...["serve", "--model", tiny, "--rounds", "1", "--gather", "1", "--port", "0"],
    ...["--local-epochs", "1", "--minimum", "1", "--run", run, "--json"],
  );
  const [, url] = await server.until(/"url":"([^"]+)"/);
  const client = fedflat(
    ...["join", "--url", url, "--data", FASHION, "--split", "iid", "--part", "1/50", "--json"],
    ...["--state", join(folder, "client")],
  );
  // The page is a file of the package, and the metrics come from the command line's.
  const http = url.replace(/^ws/, "http");
  for (const path of ["/", "/page/page.js", "/metrics"])
    assert.equal((await fetch(http + path)).status, 200, path);
  for (const { ended } of [server, client]) {
    const { code, stderr } = await ended;
    assert.deepEqual([code, stderr], [0, ""]);
  }
  const predicted = await fedflat(...["predict", "--model", join(run, "model"), "--data", FASHION])
    .ended;
  assert.equal(predicted.code, 0, predicted.stderr);
  assert.ok(predicted.stdout.split("\n").length > 100);
});

test("simulate trains a federation in this process", async () => {
  const { code, stderr, stdout } = await fedflat(
    ...["simulate", "--model", tiny, "--data", FASHION, "--clients", "2", "--rounds", "1"],
    ...["--local-epochs", "1", "--run", join(folder, "simulated"), "--json"],
  ).ended;
  assert.equal(code, 0, stderr);
  assert.match(stdout, /"event":"done"/);
});

test("an experiment draws its pictures, and flatness measures a model", async () => {
  const experiment = write(
    "experiment.json",
    JSON.stringify({
      title: "tiny",
      settings: { model: tiny, clients: 2, rounds: 1, "local-epochs": 1, samples: 100 },
      grid: { zeta: [0, 0.15], seed: [1] },
      flatness: { probes: 2, samples: 20 },
    }),
  );
  const out = join(folder, "experiment");
  const ended = await fedflat("experiment", experiment, "--data", FASHION, "--out", out).ended;
  assert.equal(ended.code, 0, ended.stderr);
  for (const name of ["results.md", "results.csv", "results.tex", "accuracy.svg", "accuracy.png"])
    assert.ok(readFileSync(join(out, name)).length > 0, name);
  const flat = await fedflat(
    ...["flatness", "--model", join(folder, "simulated"), "--data", FASHION, "--samples", "20"],
    ...["--probes", "2", "--slice", "--out", join(folder, "flat")],
  ).ended;
  assert.equal(flat.code, 0, flat.stderr);
});

test("an operator enrols a client, looks at the run and tests its load", async () => {
  const keys = join(folder, "keys");
  const run = async (...argv: string[]) => {
    const { code, stdout, stderr } = await fedflat(...argv).ended;
    assert.equal(code, 0, stderr);
    return stdout;
  };
  await run("enroll", "--keys", keys);
  assert.match(await run("keys", "list", "--keys", keys), /token/);
  const server = fedflat(
    ...["serve", "--model", tiny, "--rounds", "2", "--gather", "3", "--port", "0"],
    ...["--run", join(folder, "loaded"), "--json"],
  );
  const [, url] = await server.until(/"url":"([^"]+)"/);
  assert.match(await run("status", url.replace(/^ws/, "http")), /waits/i);
  await run(
    ...["loadtest", url, "--clients", "3", "--rounds", "2", "--duration", "60"],
    ...["--report", join(folder, "load.html"), "--json"],
  );
  assert.equal((await server.ended).code, 0);
});

test("the demo trains on the data that the package holds", async () => {
  const { code, stderr, stdout } = await fedflat(
    ...["demo", "--clients", "2", "--rounds", "1", "--local-epochs", "1"],
    ...["--run", join(folder, "demo"), "--json"],
  ).ended;
  assert.equal(code, 0, stderr);
  assert.match(stdout, /"page"/);
});

test("the aggregator and the client are libraries: the program of docs/aggregator.md", async () => {
  const [program, metrics] = codeOf("docs/aggregator.md", "js");
  const file = write(
    "aggregator.js",
    program
      .replace("./run", join(folder, "library-run"))
      .replace("port: 7400", "port: 0, metrics")
      .replace("const server =", `${metrics}\nconst server =`),
  );
  const client = write(
    "client.js",
    `import { FederatedClient } from "fedflat";
     const [url, state, seed] = process.argv.slice(2);
     const x = Array.from({ length: 40 }, (_, i) => [i % 3, 1, (i + Number(seed)) % 5, 0.5]);
     const y = x.map(([kind]) => kind);
     const client = new FederatedClient({ url, state, data: { x, y } });
     const { reason } = await client.run();
     const [first] = await client.predict(x.slice(0, 1));
     console.log(reason, first.name);`,
  );
  const server = startNode(file);
  const [, url] = await server.until(/clients join at (\S+)/);
  const metricsText = await (await fetch(`${url.replace(/^ws/, "http")}/metrics`)).text();
  assert.match(metricsText, /^fedflat_round 0\n/);
  const clients = [1, 2].map((k) =>
    startNode(client, url, join(folder, `library-client-${k}`), String(k)),
  );
  for (const { ended } of clients) {
    const { code, stdout, stderr } = await ended;
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^finished (still|walking|running)\n$/);
  }
  const { code, stdout, stderr } = await server.ended;
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^round 3: 2 clients, loss \d/m);
  assert.match(stdout, /finished after 3 rounds\n$/);
});

test("the readers are a library: the program of docs/data.md", async () => {
  write("windows.csv", "a,b,label\n1,2,x\n3,4,y\n5,6,x\n7,8,y\n");
  const [program] = codeOf("docs/data.md", "js");
  const child = startNode(write("data.js", `process.chdir(${JSON.stringify(folder)});${program}`));
  const { code, stdout, stderr } = await child.ended;
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^client +samples +classes +most frequent\n/m);
});

test("fedflat/kernels registers its kernels with the user's tfjs", async () => {
  const child = startNode(
    write(
      "kernels.js",
      `import * as tf from "@tensorflow/tfjs-core";
       import "@tensorflow/tfjs-backend-wasm";
       import "fedflat/kernels";
       await tf.setBackend("wasm");
       const x = tf.ones([1, 4, 4, 1]);
       const sums = tf.conv2d(x, tf.ones([2, 2, 1, 1]), 1, "valid");
       console.log((await sums.data()).join());`,
    ),
  );
  const { code, stdout, stderr } = await child.ended;
  assert.equal(code, 0, stderr);
  assert.equal(stdout.trim(), "4,4,4,4,4,4,4,4,4");
});

const STRICT = [
  ...["--noEmit", "--strict", "--noUncheckedIndexedAccess", "--exactOptionalPropertyTypes"],
  ...["--target", "es2022"],
];
const NODE = ["--module", "nodenext", "--types", "node"];
const BROWSER = [
  ...["--module", "esnext", "--moduleResolution", "bundler"],
  ...["--customConditions", "browser", "--types", ""],
];

for (const [what, file, source, flags] of [
  [
    "in Node",
    "node.ts",
    `import { FederatedClient, loadModel, type ClientOptions } from "fedflat";
     import { Aggregator, initialModel, listen, type Log, type Metrics } from "fedflat/aggregator";
     import { classCounts, parseSplit, readCsv, splitRows, splitTable } from "fedflat/data";
     export const client = new FederatedClient({ url: "ws://127.0.0.1:1", state: "s", data: { x: [[1]], y: [0] } });
     client.on("progress", ({ round, loss }) => { const sum: number = round + loss; void sum; });
     export async function first(): Promise<string | undefined> {
       const [first] = await client.predict([[1]]);
       return first?.task === "classes" ? first.name : undefined;
     }
     export const log: Log = console;
     export const serve = async (metrics: Metrics) => {
       const model = initialModel({ description: { input: [1], layers: [{ type: "dense", units: 2 }] }, classes: ["a", "b"] }, "1");
       const aggregator = await Aggregator.open({ model, log });
       aggregator.on("round", (line, timings) => { const n: number = line.round + timings.seconds; void n; });
       return listen(aggregator, { port: 0, metrics });
     };
     export const options: Partial<ClientOptions> = { holdOut: 0.1 };
     const dataset = readCsv("x.csv", new Uint8Array());
     const parts = splitRows(dataset, parseSplit("iid"), 2, 1);
     export const counts: Uint32Array[] = classCounts(dataset, parts);
     export const table: string = splitTable(dataset, parts);
     export { loadModel };`,
    [...NODE, "--skipLibCheck", "false"],
  ],
  [
    "in a browser, without the types of Node",
    "browser.ts",
    `import { FederatedClient, type ClientOptions } from "fedflat";
     import { readIdx } from "fedflat/data";
     export const open = (options: ClientOptions) => new FederatedClient(options);
     export { readIdx };`,
    [...BROWSER, "--skipLibCheck", "false"],
  ],
  ...["README.md", "docs/client.md"].map(
    (document) =>
      [
        `as ${document} shows the client`,
        document.replace(/\W/g, "-") + ".ts",
        `declare const url: string, x: Float32Array, y: string[];
         declare function onMainsPower(): boolean;
         declare function show(round: number, share: number, loss: number): void;
         ${codeOf(document, "ts").join("\n")}`,
        [...NODE, "--skipLibCheck", "false"],
      ] as const,
  ),
  // The types of tfjs 4.22 do not pass without skipLibCheck.
  ["beside tfjs", "kernels.ts", `import "fedflat/kernels";`, [...NODE, "--skipLibCheck"]],
] as const)
  test(`a strict compiler takes the types ${what}`, () => {
    const tsc = repository("node_modules/typescript/bin/tsc");
    const { status, stdout } = spawnSync(
      process.execPath,
      [tsc, ...STRICT, ...flags, write(file, source)],
      { cwd: folder, encoding: "utf8" },
    );
    assert.equal(stdout, "");
    assert.equal(status, 0);
  });
