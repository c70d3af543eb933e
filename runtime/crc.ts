/** A reflected CRC of 32 bits, begun with all ones and inverted at the end. */
function crcOf(polynomial: number): (bytes: Uint8Array) => number {
  const table = Uint32Array.from({ length: 256 }, (_, byte) => {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ polynomial : crc >>> 1;
    return crc;
  });
  return (bytes) => {
    let crc = 0xffffffff;
    for (let i = 0; i < bytes.length; i++) crc = (crc >>> 8) ^ table[(crc ^ bytes[i]) & 0xff];
    return (crc ^ 0xffffffff) >>> 0;
  };
}

/** The checksum of ZIP (APPNOTE.TXT 4.4.7). */
export const crc32 = /* @__PURE__ */ crcOf(0xedb88320);

/** CRC-32C (Castagnoli; RFC 3720, appendix B.4), of the journal and of TFRecord. */
export const crc32c = /* @__PURE__ */ crcOf(0x82f63b78);
