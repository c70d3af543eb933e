import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32, crc32c } from "../runtime/crc.js";

// The check values of the catalogue of CRCs (reveng), and those of RFC 3720, appendix B.4.
const digits = new TextEncoder().encode("123456789");
const ascending = Uint8Array.from({ length: 32 }, (_, i) => i);

test("CRC-32 has its check value", () => {
  assert.equal(crc32(digits), 0xcbf43926);
  assert.equal(crc32(new Uint8Array()), 0);
});

test("CRC-32C has the check values of RFC 3720", () => {
  assert.equal(crc32c(digits), 0xe3069283);
  assert.equal(crc32c(ascending), 0x46dd794e);
  assert.equal(crc32c(new Uint8Array(32)), 0x8a9136aa);
});
