import { inflateSync } from "node:zlib";
import { Dataset, File, Filters, Group } from "jsfive";
import { elements } from "../../runtime/tensors/shape.js";
import { MAX_PARAMETERS, refuse, unpackedAtMost, type FileTensor } from "./imported.js";

/** What a Keras file needs of HDF5: texts at the root, and numbers by path. */
export interface Hdf5 {
  readonly attributes: Readonly<Record<string, string>>;
  readonly numbers: ReadonlyMap<string, FileTensor>;
}

/** More groups and data sets than any model has. */
const MAX_ENTRIES = 20_000;
const MAX_DEPTH = 24;

/** Deflated chunks, by their number in HDF5's list of filters. */
const DEFLATE = 1;

// The library's own unpacks a chunk to whatever it says.
Filters.set(DEFLATE, (chunk) => {
  const maxOutputLength = unpackedAtMost(chunk.byteLength);
  return new Uint8Array(inflateSync(new Uint8Array(chunk), { maxOutputLength })).buffer;
});

/**
 * Reads an HDF5 file.
 * @param wanted which paths are read
 * @throws ModelError `import`, or whatever the library throws at damaged bytes
 */
export function readHdf5(bytes: Uint8Array, wanted: (path: string) => boolean): Hdf5 {
  requireWhole(bytes);
  // The library warns on the console of types that it does not know.
  const { warn } = console;
  console.warn = () => {};
  try {
    // A copy: a Buffer's `slice` would be a view of the archive around it.
    const file = new File(new Uint8Array(bytes).buffer);
    const attributes: Record<string, string> = {};
    for (const [name, value] of Object.entries(file.attrs))
      if (typeof value === "string") attributes[name] = value.replace(/\0+$/, "");
    const numbers = new Map<string, FileTensor>();
    let entries = 0;
    let size = 0;
    const walk = (group: Group, path: string, depth: number): void => {
      if (depth > MAX_DEPTH) refuse(path, "", `groups at most ${MAX_DEPTH} deep`, "deeper ones");
      for (const key of group.keys) {
        if (++entries > MAX_ENTRIES) refuse("file", "", `at most ${MAX_ENTRIES} data sets`, "more");
        const own = path === "" ? key : `${path}/${key}`;
        if (!wanted(own)) continue;
        const child = group.get(key);
        if (child instanceof Group) walk(child, own, depth + 1);
        else if (child instanceof Dataset) {
          const { shape } = child;
          size += elements(shape);
          if (!(size <= MAX_PARAMETERS))
            refuse(own, "shape", `at most ${MAX_PARAMETERS} numbers in all`, shape);
          const type = String(child.dtype);
          if (/^[<>|][fiub]/.test(type)) numbers.set(own, { shape, data: numbersOf(own, child) });
        }
      }
    };
    walk(file, "", 0);
    return { attributes, numbers };
  } finally {
    console.warn = warn;
  }
}

/** The superblock says where the file ends. */
function requireWhole(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const place = [40, 44, 28, 28][view.getUint8(8)];
  if (place === undefined) refuse("file", "superblock", "version 0 to 3", view.getUint8(8));
  const end = view.getBigUint64(place, true);
  if (end > BigInt(bytes.length)) refuse("file", "", `${end} bytes`, `${bytes.length} (cut off?)`);
}

function numbersOf(path: string, dataset: Dataset): Float32Array {
  const { shape, value } = dataset;
  if (value?.length !== elements(shape))
    refuse(path, "", `${elements(shape)} numbers`, String(value?.length ?? 0));
  return Float32Array.from(value, Number);
}
