import fc from "fast-check";
import { test } from "node:test";
import { DECODERS, fuzz, mustRefuseOrRead } from "./decoders.js";
import { MODEL_READERS } from "./model-files.js";

// `npm run fuzz` gives each decoder a million.
const INPUTS = 20_000;

// A model's file is long to read.
const FILES = 2_000;

for (const decoder of [...DECODERS, ...MODEL_READERS]) {
  const inputs = DECODERS.includes(decoder) ? INPUTS : FILES;
  test(`${decoder.name}: what is right is read`, async () => {
    for (const bytes of decoder.corpus) await decoder.read(bytes);
  });

  test(`${decoder.name}: ${inputs} mutated inputs are read or refused`, () =>
    fuzz(decoder, inputs, "ci"));

  test(`${decoder.name}: any bytes, any JSON`, async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), (bytes) =>
        mustRefuseOrRead(decoder, bytes),
      ),
      { numRuns: 500 },
    );
    await fc.assert(
      fc.asyncProperty(fc.json(), (json) =>
        mustRefuseOrRead(decoder, new TextEncoder().encode(json)),
      ),
      { numRuns: 500 },
    );
  });
}
