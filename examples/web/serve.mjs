// Serves the page, fedflat's bundle for browsers and the example's images, on loopback.
//   node serve.mjs [--port 8080] [--aggregator ws://127.0.0.1:7400] [--pictures MODEL]
// With --pictures the page is the one for visitors' own pictures; MODEL is the folder of the model
// that the run began with, which says their size and the classes.
import { createReadStream, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { parseArgs } from "node:util";

const { port, aggregator, pictures } = parseArgs({
  options: {
    port: { type: "string", default: "8080" },
    aggregator: { type: "string", default: "ws://127.0.0.1:7400" },
    pictures: { type: "string" },
  },
}).values;

const page = new URL("page/", import.meta.url);
const bundle = new URL("dist/", import.meta.resolve("fedflat/package.json"));
const demo = import.meta.resolve("fedflat-cli/package.json");
const images = new URL("examples/data/fashion-mnist/", demo);

/** What the page for own pictures has to know of the model. */
function modelIn(folder) {
  try {
    const { description, classes } = JSON.parse(readFileSync(join(folder, "model.json"), "utf8"));
    return { input: description.input, classes };
  } catch (error) {
    console.error(`serve: "--pictures" expected a folder of a model: ${error.message}`);
    process.exit(2);
  }
}
const settings = { aggregator, ...(pictures !== undefined && { model: modelIn(pictures) }) };

/** The files it serves, by address. */
const files = new Map([
  ["/", new URL(pictures === undefined ? "index.html" : "pictures.html", page)],
  ...["app.js", "images.js", "pictures.js", "view.js", "style.css"].map((name) => [
    `/${name}`,
    new URL(name, page),
  ]),
  ...[
    "client.js",
    "client-worker.js",
    "kernels.simd.wasm",
    "kernels.relaxed.wasm",
    "tfjs-backend-wasm-simd.wasm",
  ].map((name) => [`/fedflat/${name}`, new URL(name, bundle)]),
  ...[
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
    "classes.txt",
  ].map((name) => [`/images/${name}`, new URL(name, images)]),
]);

const types = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".txt": "text/plain; charset=utf-8",
  ".wasm": "application/wasm",
  ".gz": "application/gzip",
};

const headers = {
  "content-security-policy": [
    "default-src 'none'",
    "script-src 'self' 'wasm-unsafe-eval'",
    "worker-src 'self'",
    "style-src 'self'",
    "img-src data: blob:",
    `connect-src 'self' ${aggregator}`,
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; "),
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cache-control": "no-cache",
};

const server = createServer(({ method, url }, response) => {
  const { pathname } = new URL(url, "http://page");
  if (method !== "GET") return response.writeHead(405, headers).end();
  if (pathname === "/settings.json")
    return response
      .writeHead(200, { ...headers, "content-type": "application/json" })
      .end(JSON.stringify(settings));
  const file = files.get(pathname);
  if (file === undefined) return response.writeHead(404, headers).end();
  const type = types[extname(file.pathname)];
  response.writeHead(200, { ...headers, "content-type": type });
  createReadStream(file)
    .on("error", () => response.destroy())
    .pipe(response);
});
server.on("error", ({ message }) => {
  console.error(`serve: ${message}`);
  process.exitCode = 1;
});
server.listen(Number(port), "127.0.0.1", () =>
  console.log(`Open http://127.0.0.1:${server.address().port}/ in two tabs.`),
);
