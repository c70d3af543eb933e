import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { brotliCompressSync } from "node:zlib";

const dist = new URL("../../../dist/", import.meta.url);
const compressed = (file: string) => brotliCompressSync(readFileSync(new URL(file, dist))).length;

function assertWithin(budget: number, sizes: Record<string, number>): void {
  const sum = Object.values(sizes).reduce((a, b) => a + b);
  const parts = Object.entries(sizes).map(([name, size]) => `${name} ${size}`);
  assert.ok(sum <= budget, `${sum} bytes of brotli, ${budget} allowed: ${parts.join(", ")}`);
}

const sizesOf = (...files: string[]) =>
  Object.fromEntries(files.map((file) => [file, compressed(file)]));

/** Without tfjs the files are not written; the bundler reports what they would be. */
const reported = () =>
  JSON.parse(readFileSync(new URL("client-sizes.json", dist), "utf8")) as Record<
    string,
    { brotli: number }
  >;

test("our own code in the browser takes at most 49.1 kB compressed, secure aggregation apart", () => {
  // Secure aggregation is 3.1 kB: its cryptography is the system's, but shares, masks, signatures and the answers
  // of its phases are here, for a client has to look after its own secrets.
  // Of the rest the codecs of updates are 2.4: a device writes what its run asks for, and one
  // that lacks a codec cannot take part.
  // Frozen and personal layers are 1.3: shares of a model, its base from the device's disk, and the
  // layers that a client keeps to itself. BatchNorm and LoRA are 1.9: their forward and backward
  // passes, running values in updates, and the merging of LoRA's kernels for predictions.
  // What frozen layers give, kept at their border, is 0.5: an epoch of a head is then not one of the
  // whole network.
  // A model of the client's own is 0.7: the halves of FedRep's round, Ditto, and personalise() with
  // its place on the disk.
  const sizes = reported();
  const own = sizes["our own code in the browser"].brotli;
  const secure = sizes["secure aggregation of it"].brotli;
  assertWithin(49_080, { "our own code without secure aggregation": own - secure });
  assertWithin(3_130, { "secure aggregation": secure });
});

test("each build of our kernels takes at most 18 kB compressed", () => {
  for (const build of ["simd", "relaxed"]) assertWithin(18_000, sizesOf(`kernels.${build}.wasm`));
});

test("everything a browser loads takes at most 235 kB compressed", () => {
  assertWithin(
    235_000,
    sizesOf(
      "client.js",
      "client-worker.js",
      "kernels.simd.wasm",
      "kernels.relaxed.wasm",
      "tfjs-backend-wasm-simd.wasm",
    ),
  );
});

test("the sizes in README are those that the build prints, to a twentieth", () => {
  const readme = readFileSync(new URL("../README.md", dist), "utf8");
  const sizes = reported();
  const sum = (...files: string[]) =>
    files.reduce((total, file) => total + sizes[file].brotli, 0) / 1000;
  const loaded = ["client.js", "client-worker.js", "tfjs-backend-wasm-simd.wasm"];
  for (const [row, ...measured] of [
    [
      "the client's own code in a browser",
      sum("our own code in the browser"),
      sum(...loaded, "kernels.simd.wasm"),
    ],
    ["our WebAssembly kernels", sum("kernels.simd.wasm"), sum("kernels.relaxed.wasm")],
  ] as const) {
    const said = new RegExp(`^\\| ${row}.*\\| (\\d+) kB, (\\d+) kB brotli`, "m").exec(readme);
    assert.ok(said, row);
    measured.forEach((kilobytes, i) =>
      assert.ok(
        Math.abs(Number(said[i + 1]) / kilobytes - 1) <= 0.05,
        `${row}: README says ${said[i + 1]} kB, the build ${kilobytes} kB`,
      ),
    );
  }
});
