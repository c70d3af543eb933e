// npm run build:bundle, after build:kernels and build:code: makes the client as files that need no node_modules.
//   client.js, client-worker.js                                   for browsers and Electron renderers
//   client-node.js, client-node-worker.js, client-node-shared.js  for Node
// and beside them in dist/ the .wasm files that both load: our two builds of the kernels, and tfjs's backend. All are
// modules but client-worker.js, a classic script without imports and addresses, so that every bundler and server can pass
// it on as it is. Node before 20.19 wants a package.json beside them that says so.
import { copyFile, readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { brotliCompressSync } from "node:zlib";
import { parse } from "acorn";
import { build } from "esbuild";
import { minify } from "terser";

const require = createRequire(import.meta.url);
const dist = fileURLToPath(new URL("../dist/", import.meta.url));
const compiled = join(dist, "runtime");

/** What Emscripten's loader and CommonJS packages expect to find in Node, in a module. */
const NODE_BANNER = `import { createRequire as fedflatRequire } from "node:module";
import { fileURLToPath as fedflatPath } from "node:url";
const require = fedflatRequire(import.meta.url), __filename = fedflatPath(import.meta.url), __dirname = fedflatPath(new URL(".", import.meta.url));`;

/** The client's and its worker's entries; for Node, what both need goes into a shared file. */
const BUNDLES = [
  { platform: "browser", entryPoints: { client: join(compiled, "browser.js") } },
  {
    platform: "browser",
    entryPoints: { "client-worker": join(compiled, "platform/browser-worker.js") },
    format: "iife",
  },
  {
    platform: "node",
    entryPoints: {
      "client-node": join(compiled, "node.js"),
      "client-node-worker": join(compiled, "platform/node-worker.js"),
    },
    splitting: true,
    chunkNames: "client-node-shared",
    banner: { js: NODE_BANNER },
  },
];

const WASM_FILES = [
  join(compiled, "wasm/kernels.simd.wasm"),
  join(compiled, "wasm/kernels.relaxed.wasm"),
  require.resolve("@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm"),
];

/**
 * Properties that no device uses: Hessian-vector products, which `fedflat flatness` computes, with
 * the derivatives of activations and losses that they take; of algorithms their papers, what the
 * server does, and its numbers; what layers begin as, and how splits are drawn; and of valibot what
 * it offers to others. They are left out, with what only they need.
 */
const LEFT_OUT = [
  [/layers[\\/]activations\.js$/, ["value", "first", "second"]],
  [/layers[\\/](gru|lstm)\.js$/, ["products"]],
  [/layers[\\/]/, ["initial", "remembersTangents", "tangentWords"]],
  [/losses[\\/]/, ["tangent"]],
  [/layers[\\/]linear\.js$/, ["directions", "products"]],
  [/layers[\\/]convolution\.js$/, ["adding"]],
  [/layers[\\/]recurrent\.js$/, ["along"]],
  [
    /memory-plan\.js$/,
    [
      ...["xTangent", "yTangent", "dxTangent", "dyTangent", "keptTangent"],
      ...["tangentMemory", "tangentAdditions", "directions", "products"],
    ],
  ],
  [/training[\\/](memory-)?plan\.js$/, ["direction", "product", "temporary", "weights"]],
  [/running-values\.js$/, ["size", "bytes", "decode"]],
  [/codecs[\\/]/, ["coarse"]],
  [/(models|training)[\\/]/, ["forwardTangent", "backwardTangent", "hessianProduct"]],
  [/algorithms[\\/]/, ["source", "server", "step"]],
  [/(adaptive|fedavgm)\.js$/, ["state", "defaults"]],
  [
    /valibot[\\/]/,
    ["reference", "async", "origin", "version", "vendor", "validate", "lang", "abortPipeEarly"],
  ],
  [/random\.js$/, ["normal", "gamma"]],
];

/** What is false on a device, for the same reason. */
const FALSE = [
  'purpose === "curvature"',
  "cells.tangentMemory > 0",
  "examples.groups !== undefined",
  "algorithm.server !== fedavg.server",
  ...["requirement instanceof Date", "dataset.value instanceof Date"],
  ...["valueSchema.fallback !== void 0", 'typeof schema.default === "function"'],
];

/** Those that have been found: one that goes by another name now must not slip into the bundle. */
const found = new Set();

/** The code without the properties of object literals that are left out, and with what is false. */
function lean(path, code) {
  const names = LEFT_OUT.flatMap(([folder, names]) => (folder.test(path) ? names : []));
  let left = "";
  let at = 0;
  const cut = ({ start, end }, instead, behind) => {
    left += code.slice(at, start) + instead;
    at = end + behind.exec(code.slice(end))[0].length;
  };
  const visit = (node) => {
    if (typeof node !== "object" || node === null || node.type === "ObjectPattern") return;
    const text = node.type === "BinaryExpression" && code.slice(node.start, node.end);
    if (node.type === "Property" && names.includes(node.key.name)) {
      found.add(node.key.name);
      cut(node, "", /^\s*,?/);
    } else if (FALSE.includes(text)) {
      found.add(text);
      cut(node, "false", /^/);
    } else Object.values(node).forEach(visit);
  };
  visit(parse(code, { ecmaVersion: "latest", sourceType: "module" }));
  return left + code.slice(at);
}

/**
 * Our code as a bundle has it. Every `new URL("...", import.meta.url)` of it names a file of ours;
 * in a bundle all of them lie in one folder.
 */
const ourCode = {
  name: "our-code",
  setup({ onLoad }) {
    const places = new Map(
      WASM_FILES.flatMap((file) => [
        [file, basename(file)],
        [join(dist, basename(file)), basename(file)],
      ]),
    );
    places.set(join(dist, "client-worker.js"), "client-worker.js");
    for (const { entryPoints } of BUNDLES)
      for (const [name, file] of Object.entries(entryPoints)) places.set(file, `${name}.js`);
    // A bundle has the tfjs that it was made and tested with.
    onLoad({ filter: /tfjs-check\.js$/ }, () => ({
      contents: "export const checkedBackend = (backend) => backend;",
    }));
    onLoad({ filter: /(dist[\\/]runtime|valibot)[\\/].*\.m?js$/ }, async ({ path }) => ({
      contents: lean(path, await readFile(path, "utf8")).replace(
        /new URL\(\s*"([^"]+)",\s*import\.meta\.url,?\s*\)/g,
        (_, target) => {
          const place = places.get(resolve(dirname(path), target));
          if (place === undefined)
            throw new Error(`${path}: "${target}" is not part of the bundle`);
          return `new URL("./${place}", import.meta.url)`;
        },
      ),
    }));
  },
};

/**
 * Of tfjs we use its wasm backend's memory and nothing else: no operations, no kernels of its own,
 * no threads, no file formats. A name that a later tfjs has elsewhere fails the build here.
 */
const leanTfjs = {
  name: "lean-tfjs",
  setup({ onResolve, onLoad }) {
    const core = dirname(require.resolve("@tensorflow/tfjs-core"));
    onResolve({ filter: /^@tensorflow\/tfjs-backend-wasm$/ }, () => ({
      path: require.resolve("@tensorflow/tfjs-backend-wasm/dist/base.js"),
    }));
    onResolve({ filter: /^@tensorflow\/tfjs-core$/ }, () => ({
      path: "core",
      namespace: "lean-tfjs",
    }));
    onResolve({ filter: /tfjs-backend-wasm-threaded-simd(\.worker)?\.js$/ }, () => ({
      path: "threads",
      namespace: "lean-tfjs",
    }));
    onLoad({ filter: /^threads$/, namespace: "lean-tfjs" }, () => ({
      contents: "export default null; export const wasmWorkerContents = '';",
    }));
    onLoad({ filter: /^core$/, namespace: "lean-tfjs" }, () => ({
      resolveDir: core,
      contents: `
        import "./base_side_effects.js";
        export { DataStorage, KernelBackend } from "./backends/backend.js";
        export { env } from "./environment.js";
        export { backend, deprecationWarn, engine, registerBackend, setBackend } from "./globals.js";
        export * as util from "./util.js";
        export { version as version_core } from "./version.js";
      `,
    }));
  },
};

/** A file of a bundle, a twentieth smaller than esbuild leaves it. */
async function shortened({ path, text }, isModule) {
  const { code } = await minify(text, {
    module: isModule,
    ecma: 2020,
    compress: { passes: 2, pure_getters: true, keep_fargs: false },
    format: { comments: false },
  });
  return { path, contents: Buffer.from(code) };
}

/** Makes bundles; gives the files back as { path, contents }. */
const bundle = async (options) => {
  const { outputFiles } = await build({
    outdir: dist,
    write: false,
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    mainFields: ["module", "main"],
    // What packages try to load and do without.
    external: ["bufferutil", "utf-8-validate", "node-fetch", "fs", "path", "util"],
    plugins: [ourCode, leanTfjs],
    legalComments: "none",
    logLevel: "warning",
    ...options,
  });
  return Promise.all(outputFiles.map((file) => shortened(file, options.format !== "iife")));
};

const written = (await Promise.all(BUNDLES.map(bundle))).flat();
const sought = [...LEFT_OUT.flatMap(([, names]) => names), ...FALSE];
const missed = sought.filter((name) => !found.has(name));
if (missed.length > 0) throw new Error(`nothing of the code is ${missed.join(", ")}`);
for (const { path, contents } of written) await writeFile(path, contents);
for (const file of WASM_FILES) await copyFile(file, join(dist, basename(file)));

const sizeOf = (contents) => ({
  bytes: contents.length,
  brotli: brotliCompressSync(contents).length,
});
/** The browser's files once more, without tfjs: what of them is ours, what both need counted once. */
const browsers = BUNDLES.filter(({ platform }) => platform === "browser");
async function ownCode(...plugins) {
  const files = await bundle({
    platform: "browser",
    entryPoints: Object.assign({}, ...browsers.map(({ entryPoints }) => entryPoints)),
    splitting: true,
    plugins: [...plugins, ourCode],
    external: ["@tensorflow/*"],
  });
  const sizes = files.map(({ contents }) => sizeOf(contents));
  const sum = (key) => sizes.reduce((total, size) => total + size[key], 0);
  return { bytes: sum("bytes"), brotli: sum("brotli") };
}

/** Secure aggregation has an allowance of its own: it is what a build has less whose functions of it do nothing. */
const withoutSecure = {
  name: "without-secure",
  setup({ onLoad }) {
    onLoad(
      { filter: /runtime[\\/](secure[\\/].*|client[\\/]secure-round)\.js$/ },
      async ({ path }) => {
        const names = Object.keys(await import(pathToFileURL(path)));
        return { contents: names.map((name) => `export const ${name} = () => {};`).join("\n") };
      },
    );
  },
};
const own = await ownCode();
const others = await ownCode(withoutSecure);

const sizes = {};
for (const { path, contents } of written) sizes[basename(path)] = sizeOf(contents);
for (const file of WASM_FILES) sizes[basename(file)] = sizeOf(await readFile(file));
sizes["our own code in the browser"] = own;
sizes["secure aggregation of it"] = {
  bytes: own.bytes - others.bytes,
  brotli: own.brotli - others.brotli,
};
await writeFile(join(dist, "client-sizes.json"), `${JSON.stringify(sizes, null, 2)}\n`);
for (const [name, { bytes, brotli }] of Object.entries(sizes))
  console.log(
    `${name.padEnd(30)} ${String(bytes).padStart(8)} bytes ${String(brotli).padStart(8)} brotli`,
  );
