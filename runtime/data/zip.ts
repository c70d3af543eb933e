import { DataError } from "../errors.js";
import { crc32 } from "../crc.js";
import { unexpected } from "./dataset.js";
import { inflate, INFLATE_LIMIT } from "./inflate.js";

/**
 * The files of a ZIP archive, stored or deflated (APPNOTE.TXT 4.3; no ZIP64, no encryption), each checked against its CRC.
 * A file whose name is not wanted is only named.
 * @param limit most bytes that all files together may unpack to
 * @throws DataError `magic`, `truncated`, `corrupt`, `too-large`, `type`
 */
export async function readZip(
  source: string,
  bytes: Uint8Array,
  limit = INFLATE_LIMIT,
  wanted: (name: string) => boolean = () => true,
): Promise<Map<string, Uint8Array | undefined>> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  // The directory's end record stands last, before a comment of at most 65,535 bytes.
  let end = bytes.length - 22;
  const first = Math.max(0, end - 0xffff);
  while (end >= first && view.getUint32(end, true) !== 0x06054b50) end--;
  if (end < first)
    throw unexpected("truncated", source, "end", "a ZIP directory", "none (a file cut off?)");

  const files = new Map<string, Uint8Array | undefined>();
  const count = view.getUint16(end + 10, true);
  let at = view.getUint32(end + 16, true);
  let room = limit;
  const need = (from: number, length: number, what: string): void => {
    if (from + length > bytes.length)
      throw unexpected(
        "truncated",
        source,
        what,
        `${from + length} bytes of file`,
        String(bytes.length),
      );
  };
  for (let i = 0; i < count; i++) {
    need(at, 46, `directory entry ${i}`);
    if (view.getUint32(at, true) !== 0x02014b50)
      throw unexpected(
        "corrupt",
        source,
        `directory entry ${i}`,
        "its signature",
        "something else",
      );
    const method = view.getUint16(at + 10, true);
    const crc = view.getUint32(at + 16, true);
    const packed = view.getUint32(at + 20, true);
    const size = view.getUint32(at + 24, true);
    const nameLength = view.getUint16(at + 28, true);
    need(at + 46, nameLength, `directory entry ${i}`);
    const name = new TextDecoder().decode(bytes.slice(at + 46, at + 46 + nameLength));
    const header = view.getUint32(at + 42, true);
    at += 46 + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);

    if (!wanted(name)) {
      files.set(name, undefined);
      continue;
    }
    const file = `${source}/${name}`;
    if (size > room || size === 0xffffffff)
      throw unexpected(
        "too-large",
        file,
        "size",
        `at most ${room} bytes (a limit against decompression bombs)`,
        String(size),
      );
    room -= size;
    need(header, 30, name);
    const start =
      header + 30 + view.getUint16(header + 26, true) + view.getUint16(header + 28, true);
    need(start, packed, name);
    const data = bytes.subarray(start, start + packed);
    if (method !== 0 && method !== 8)
      throw unexpected("type", file, "compression", "stored or deflated", `method ${method}`);
    const content = method === 0 ? data : await inflate(file, data, "deflate-raw", size);
    if (content.length !== size)
      throw unexpected("corrupt", file, "size", `${size} bytes`, String(content.length));
    if (crc32(content) !== crc)
      throw new DataError(
        "corrupt",
        `"${file}" expected content with the checksum of the directory, got another (a damaged file)`,
      );
    files.set(name, content);
  }
  return files;
}
