import fc from "fast-check";
import { test } from "node:test";
import { DECODERS, fuzz, mustRefuseOrRead } from "./decoders.js";

// `npm run fuzz` gives each decoder a million.
const INPUTS = 20_000;

for (const decoder of DECODERS) {
  test(`${decoder.name}: what is right is read`, () => {
    for (const bytes of decoder.corpus) decoder.read(bytes);
  });

  test(`${decoder.name}: ${INPUTS} mutated inputs are read or refused`, () =>
    fuzz(decoder, INPUTS, "ci"));

  test(`${decoder.name}: any bytes, any JSON`, () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => mustRefuseOrRead(decoder, bytes)),
      { numRuns: 500 },
    );
    fc.assert(
      fc.property(fc.json(), (json) => mustRefuseOrRead(decoder, new TextEncoder().encode(json))),
      { numRuns: 500 },
    );
  });
}
