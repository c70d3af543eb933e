import assert from "node:assert/strict";
import { test } from "node:test";
import { readFileSync } from "node:fs";
import { BUILDS, openLab } from "./fixtures.js";
import { readKernelBinaries } from "../../runtime/platform/node-kernels.js";

// The module lives in a memory that belongs to tfjs: data or memory of its own would overwrite it.

/** The sections of a WebAssembly binary, by id. */
function sections(bytes: Uint8Array): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  let at = 8;
  while (at < bytes.length) {
    const id = bytes[at++];
    let size = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++];
      size |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    found.set(id, bytes.subarray(at, at + size));
    at += size;
  }
  return found;
}

const IMPORT = 2;
const MEMORY = 5;
const START = 8;
const DATA = 11;
const DATA_COUNT = 12;

/** Names of the functions of the interface `Kernels`, read from its source. */
function declared(): string[] {
  const source = readFileSync(new URL("../../../runtime/wasm/kernels.ts", import.meta.url), "utf8");
  const body = source.slice(source.indexOf("interface Kernels"), source.indexOf("\n}"));
  return [...body.matchAll(/^  (\w+)\(/gm)].map((match) => match[1]).sort();
}

for (const build of BUILDS) {
  test(`${build}: no data, no memory of its own, no import but env.memory, no start function`, async () => {
    const bytes = readKernelBinaries()[build] as Uint8Array;
    const found = sections(bytes);
    for (const id of [MEMORY, START, DATA, DATA_COUNT])
      assert.equal(found.get(id), undefined, `section ${id}`);
    // One import: "env" "memory", kind memory (2).
    const text = (name: string) => [name.length, ...Buffer.from(name)];
    assert.deepEqual([...found.get(IMPORT)!].slice(0, 13), [
      1,
      ...text("env"),
      ...text("memory"),
      2,
    ]);
  });

  test(`${build}: exports what the interface declares, and nothing else`, async () => {
    const { kernels } = await openLab(build);
    assert.deepEqual(Object.keys(kernels).sort(), declared());
  });
}
