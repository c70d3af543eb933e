// Part of npm run build:bundle, after build:code: makes the live page's files,
// dist/aggregator/monitoring/dashboard/assets, which need nothing from elsewhere.
import { copyFile, mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const outdir = here("../../../dist/aggregator/monitoring/dashboard/assets");

/** The licence of the plots asks to stand wherever they go. */
const uplot = dirname(createRequire(import.meta.url).resolve("uplot/package.json"));
const licence = await readFile(join(uplot, "LICENSE"), "utf8");
const banner = `/*! Contains uPlot, https://github.com/leeoniya/uPlot\n${licence}*/`;

await mkdir(outdir, { recursive: true });
await build({
  entryPoints: [
    { in: here("../../../dist/aggregator/monitoring/dashboard/browser/page.js"), out: "page" },
    { in: here("browser/page.css"), out: "page" },
  ],
  outdir,
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022", "chrome111", "firefox113", "safari16.4"],
  banner: { js: banner, css: banner },
  logLevel: "warning",
});
await copyFile(here("browser/index.html"), join(outdir, "index.html"));
