import type { FileTensor } from "./imported.js";

// The part of the HDF5 file format 3.0 that Keras' weights need: groups whose links stand in their
// own header, and arrays of float32 in one piece. A library for all of HDF5 is 5 MB of WebAssembly.

interface Group {
  readonly [name: string]: Group | FileTensor;
}

const UNDEFINED = 0xffff_ffff_ffff_ffffn;
const SUPERBLOCK = 48;

/** Numbers, each of so many bytes, lowest first. */
function packed(...fields: readonly (readonly [width: 1 | 2 | 4 | 8, value: number | bigint])[]) {
  const bytes = Buffer.alloc(fields.reduce((sum, [width]) => sum + width, 0));
  let at = 0;
  for (const [width, value] of fields) {
    if (width === 8) bytes.writeBigUInt64LE(BigInt(value), at);
    else bytes.writeUIntLE(Number(value), at, width);
    at += width;
  }
  return bytes;
}

const rotated = (x: number, by: number): number => (x << by) | (x >>> (32 - by));

/** Bob Jenkins' lookup3 (hashlittle, 2006), the checksum of HDF5's metadata. */
function lookup3(bytes: Uint8Array): number {
  let a = (0xdeadbeef + bytes.length) | 0;
  let [b, c] = [a, a];
  const word = (at: number) =>
    bytes[at] |
    0 |
    ((bytes[at + 1] | 0) << 8) |
    ((bytes[at + 2] | 0) << 16) |
    ((bytes[at + 3] | 0) << 24);
  let at = 0;
  const take = () => {
    a = (a + word(at)) | 0;
    b = (b + word(at + 4)) | 0;
    c = (c + word(at + 8)) | 0;
  };
  for (; bytes.length - at > 12; at += 12) {
    take();
    a = (a - c) ^ rotated(c, 4);
    c = (c + b) | 0;
    b = (b - a) ^ rotated(a, 6);
    a = (a + c) | 0;
    c = (c - b) ^ rotated(b, 8);
    b = (b + a) | 0;
    a = (a - c) ^ rotated(c, 16);
    c = (c + b) | 0;
    b = (b - a) ^ rotated(a, 19);
    a = (a + c) | 0;
    c = (c - b) ^ rotated(b, 4);
    b = (b + a) | 0;
  }
  if (at === bytes.length) return c >>> 0;
  take();
  c = ((c ^ b) - rotated(b, 14)) | 0;
  a = ((a ^ c) - rotated(c, 11)) | 0;
  b = ((b ^ a) - rotated(a, 25)) | 0;
  c = ((c ^ b) - rotated(b, 16)) | 0;
  a = ((a ^ c) - rotated(c, 4)) | 0;
  b = ((b ^ a) - rotated(a, 14)) | 0;
  c = ((c ^ b) - rotated(b, 24)) | 0;
  return c >>> 0;
}

const checked = (bytes: Uint8Array) => Buffer.concat([bytes, packed([4, lookup3(bytes)])]);

/** An object's header of version 2: what it is, message by message. */
function header(messages: readonly (readonly [type: number, body: Uint8Array])[]): Buffer {
  const all = messages.flatMap(([type, body]) => [
    packed([1, type], [2, body.length], [1, 0]),
    body,
  ]);
  const size = all.reduce((sum, { length }) => sum + length, 0);
  // Flags 2: the size of the messages takes four bytes.
  return checked(Buffer.concat([Buffer.from("OHDR\x02\x02", "latin1"), packed([4, size]), ...all]));
}

/** Sign, exponent of 8 bits from bit 23 biased by 127, mantissa of 23 bits: float32, lowest byte first. */
const FLOAT32 = Buffer.concat([
  packed([1, 0x11], [1, 0x20], [1, 31], [1, 0], [4, 4], [2, 0], [2, 32]),
  packed([1, 23], [1, 8], [1, 0], [1, 23], [4, 127]),
]);

/** An HDF5 file of arrays by their paths; a path that ends in `/` is a group without arrays. */
export function writeHdf5(numbers: ReadonlyMap<string, FileTensor | undefined>): Uint8Array {
  const root: Record<string, Group | FileTensor> = {};
  for (const [path, tensor] of numbers) {
    const pieces = path.split("/");
    const name = pieces.pop()!;
    let group = root;
    for (const piece of pieces) group = (group[piece] ??= {}) as typeof root;
    if (tensor !== undefined) group[name] = tensor;
  }
  const parts: Uint8Array[] = [];
  let end = SUPERBLOCK;
  /** Puts bytes behind all others. Returns where they stand. */
  const put = (bytes: Uint8Array): number => {
    const at = end;
    parts.push(bytes);
    end += bytes.length;
    return at;
  };
  const array = ({ shape, data }: FileTensor): number => {
    const at = put(Buffer.from(data.slice().buffer));
    const axes = shape.map((size) => packed([8, size]));
    const space = packed([1, 2], [1, shape.length], [1, 0], [1, shape.length === 0 ? 0 : 1]);
    return put(
      header([
        [1, Buffer.concat([space, ...axes])],
        [3, FLOAT32],
        // No fill value; the array stands in one piece.
        [5, packed([1, 3], [1, 0x0a])],
        [8, packed([1, 3], [1, 1], [8, at], [8, 4 * data.length])],
      ]),
    );
  };
  const group = (content: Group): number => {
    const links = Object.entries(content).map(([name, child]): [number, Uint8Array] => {
      const at = isTensor(child) ? array(child) : group(child);
      const text = Buffer.from(name);
      return [6, Buffer.concat([packed([1, 1], [1, 0], [1, text.length]), text, packed([8, at])])];
    });
    const where = packed([1, 0], [1, 0], [8, UNDEFINED], [8, UNDEFINED]);
    return put(header([[2, where], [10, packed([1, 0], [1, 0])], ...links]));
  };
  const at = group(root);
  const superblock = checked(
    Buffer.concat([
      Buffer.from("\x89HDF\r\n\x1a\n\x02\x08\x08\x00", "latin1"),
      packed([8, 0], [8, UNDEFINED], [8, end], [8, at]),
    ]),
  );
  return Buffer.concat([superblock, ...parts]);
}

const isTensor = (child: Group | FileTensor): child is FileTensor =>
  child["data"] instanceof Float32Array;
