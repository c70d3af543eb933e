import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { ConfigError } from "../../runtime/errors.js";
import { readKernelBinaries } from "../../runtime/platform/node-kernels.js";
import { engineBuild } from "../../runtime/wasm/engine-build.js";
import { compileKernels } from "../../runtime/wasm/load.js";

const binaries = readKernelBinaries();
const nonsense = { simd: new Uint8Array(8), relaxed: new Uint8Array(8) };

test("the build follows the engine, unless one is named", async () => {
  assert.equal((await compileKernels(binaries, "simd")).build, "simd");
  assert.equal((await compileKernels(binaries)).build, engineBuild());
});

test("a process started with relaxed SIMD takes the relaxed build", () => {
  const url = (path: string) => new URL(path, import.meta.url).href;
  const script = `
    import { compileKernels } from "${url("../../runtime/wasm/load.js")}";
    import { engineBuild } from "${url("../../runtime/wasm/engine-build.js")}";
    import { readKernelBinaries } from "${url("../../runtime/platform/node-kernels.js")}";
    console.log((await compileKernels(readKernelBinaries())).build, engineBuild());`;
  const flags = [
    // Node 20 asks for it; later ones have it on and know no such flag.
    ...(engineBuild() === "relaxed" ? [] : ["--experimental-wasm-relaxed-simd"]),
    "--input-type=module",
    "-e",
    script,
  ];
  assert.equal(execFileSync(process.execPath, flags, { encoding: "utf8" }), "relaxed relaxed\n");
});

test("an engine without SIMD gets a sentence", async () => {
  await assert.rejects(compileKernels(nonsense), (error) => {
    assert.ok(error instanceof ConfigError);
    assert.equal(error.code, "no-simd");
    assert.match(error.message, /"kernel build" expected .* SIMD, got/);
    return true;
  });
});
