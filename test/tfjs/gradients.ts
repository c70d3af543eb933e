import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";

/**
 * Registers tfjs-core's gradients, as the package @tensorflow/tfjs does. In Node tfjs-core by
 * itself has none, and its file of them can only be reached through a bundler; the registry and the
 * engine are global, so a bundled copy serves.
 */
export async function registerGradients(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "fedflat-gradients-"));
  try {
    await import(pathToFileURL(await bundleGradients(folder)).href);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Writes the module that registers them into a folder. @returns its path */
export async function bundleGradients(folder: string): Promise<string> {
  const outfile = join(folder, "gradients.mjs");
  await build({
    entryPoints: ["@tensorflow/tfjs-core/dist/register_all_gradients.js"],
    bundle: true,
    format: "esm",
    platform: "node",
    outfile,
    logLevel: "error",
  });
  return outfile;
}
