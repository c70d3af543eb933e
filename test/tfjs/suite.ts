import { fork } from "node:child_process";
import { once } from "node:events";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

// npm run tfjs-suite [OUT.json]: the tests that tfjs-core brings along, on its wasm backend as it is
// and with our kernels in it. Ends with 1 where a test that passes on the stock backend fails with
// ours, and says which.

type Results = Record<string, "passed" | "failed">;

/** The program: jasmine's globals, the backend, and all test files of the package. */
const programOf = (kernels: boolean) => `
  import "jasmine-globals";
  import "@tensorflow/tfjs-core";
  import "@tensorflow/tfjs-core/dist/register_all_gradients.js";
  import "@tensorflow/tfjs-core/dist/public/chained_ops/register_all_chained_ops.js";
  import "@tensorflow/tfjs-backend-cpu";
  import "@tensorflow/tfjs-backend-wasm";
  ${kernels ? `import "fedflat/kernels";` : ""}
  import { setTestEnvs } from "@tensorflow/tfjs-core/dist/jasmine_util.js";
  setTestEnvs([{ name: "wasm", backendName: "wasm", isDataSync: true }]);
  await import("@tensorflow/tfjs-core/dist/tests.js");
  const env = jasmine.getEnv();
  env.configure({ random: false });
  const results = {};
  env.addReporter({
    specDone({ fullName, status }) {
      // A name that stands twice passes where both do.
      if (status === "passed") results[fullName] ??= status;
      if (status === "failed") results[fullName] = status;
    },
    jasmineDone: () => process.send(results, () => process.exit()),
  });
  env.execute();
`;

/** What stands where jasmine's own command line puts its functions. */
const GLOBALS = `
  const jasmineRequire = require("jasmine-core/lib/jasmine-core/jasmine.js");
  const jasmine = jasmineRequire.core(jasmineRequire);
  Object.assign(globalThis, jasmineRequire.interface(jasmine, jasmine.getEnv()), { jasmine });
`;

/** Our kernels' binaries are looked for beside the code that reads them. */
const here = fileURLToPath(new URL("../../runtime/platform/", import.meta.url));
const repository = fileURLToPath(new URL("../../../", import.meta.url));

/** Runs the suite in a process of its own. */
async function results(kernels: boolean): Promise<Results> {
  const outfile = join(here, `tfjs-suite-${kernels ? "ours" : "stock"}.mjs`);
  try {
    await build({
      stdin: { contents: programOf(kernels), resolveDir: repository },
      bundle: true,
      format: "esm",
      platform: "node",
      // Tests are imported for their effects alone.
      ignoreAnnotations: true,
      // One copy of tfjs for all.
      mainFields: ["module", "main"],
      external: ["node-fetch"],
      banner: {
        js: `import { createRequire as make } from "node:module";
const require = make(${JSON.stringify(new URL(import.meta.resolve("@tensorflow/tfjs-backend-wasm")).href)});
const __dirname = ${JSON.stringify(fileURLToPath(new URL(".", import.meta.resolve("@tensorflow/tfjs-backend-wasm"))))}, __filename = __dirname + "bundle.js";`,
      },
      plugins: [
        {
          name: "jasmine-globals",
          setup({ onResolve, onLoad }) {
            onResolve({ filter: /^jasmine-globals$/ }, ({ path }) => ({
              path,
              namespace: "jasmine",
            }));
            onLoad({ filter: /.*/, namespace: "jasmine" }, () => ({
              contents: GLOBALS,
              resolveDir: repository,
            }));
          },
        },
      ],
      outfile,
      logLevel: "error",
    });
    const child = fork(outfile, { stdio: ["ignore", "ignore", "pipe", "ipc"] });
    let complaint = "";
    child.stderr?.on("data", (text) => (complaint = (complaint + String(text)).slice(-4000)));
    let got: Results | undefined;
    child.on("message", (message: Results) => (got = message));
    await once(child, "close");
    if (got === undefined) throw new Error(`the suite ended before its end: ${complaint}`);
    return got;
  } finally {
    await rm(outfile, { force: true });
  }
}

const [stock, ours] = [await results(false), await results(true)];
const passed = (of: Results) => Object.values(of).filter((status) => status === "passed").length;
const only = (a: Results, b: Results) =>
  Object.keys(a).filter((name) => a[name] === "passed" && b[name] !== "passed");
const [lost, won] = [only(stock, ours), only(ours, stock)];
console.log(`${Object.keys(stock).length} tests of tfjs-core on its wasm backend`);
console.log(`${passed(stock)} pass on the stock backend, ${passed(ours)} with our kernels`);
console.log(`${won.length} pass with our kernels alone`);
for (const name of lost) console.log(`fails with our kernels alone: ${name}`);
const [out] = process.argv.slice(2);
if (out) await writeFile(out, JSON.stringify({ won, lost, stock, ours }, null, 2));
process.exitCode = lost.length > 0 ? 1 : 0;
