import { readFile, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { ConfigError, FedflatError, ModelError } from "../../runtime/errors.js";
import { inWords } from "../../runtime/platform/system-errors.js";
import { inFile } from "../in-file.js";
import { MAX_FILE, refuse, refuseFlag, type Imported, type ReadOptions } from "./imported.js";
import { looksLikeOnnx } from "./onnx-file.js";

type Reader = (bytes: Uint8Array, options: ReadOptions) => Imported | Promise<Imported>;

interface Format {
  readonly name: string;
  readonly is: (bytes: Uint8Array) => boolean;
  /** It holds numbers only: what they are of a description says. */
  readonly isDescribed?: boolean;
  /** The reader, loaded only when there is such a file. */
  readonly reader: () => Promise<Reader>;
}

const starts = (bytes: Uint8Array, text: string, at = 0): boolean =>
  [...text].every((letter, i) => bytes[at + i] === letter.charCodeAt(0));

const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

// In this order: the later ones are told less surely.
const FORMATS: readonly Format[] = [
  {
    name: ".keras",
    is: (bytes) => starts(bytes, "PK\x03\x04"),
    reader: async () => (await import("./keras-files.js")).readKerasZip,
  },
  {
    name: "Keras .h5",
    is: (bytes) => starts(bytes, "\x89HDF\r\n\x1a\n"),
    reader: async () => (await import("./keras-files.js")).readKerasH5,
  },
  {
    name: "TensorFlow.js model.json",
    is: (bytes) =>
      /^\s*[{[]/.test(textOf(bytes.subarray(0, 100))) &&
      /"modelTopology"|"weightsManifest"|"paths"/.test(textOf(bytes.subarray(0, 1 << 26))),
    reader: async () => (await import("./keras-files.js")).readTfjs,
  },
  {
    name: "TFLite",
    is: (bytes) => starts(bytes, "TFL3", 4),
    reader: async () => (await import("./tflite.js")).readTflite,
  },
  {
    name: "a PyTorch state_dict in safetensors",
    // The header's length, then the header.
    is: (bytes) => bytes.length > 10 && bytes[7] === 0 && starts(bytes, "{", 8),
    isDescribed: true,
    reader: async () => (await import("./torch.js")).readStateDict,
  },
  {
    name: "ONNX",
    is: looksLikeOnnx,
    reader: async () => (await import("./onnx.js")).readOnnx,
  },
];

/**
 * Reads a model's file of whatever format its bytes are of. @throws ModelError `import` in one
 * sentence, whatever is wrong with the bytes
 * @param options `path` is the file's, for that sentence
 */
export async function readAny(
  bytes: Uint8Array,
  options: ReadOptions & { readonly path?: string },
): Promise<Imported> {
  const format = FORMATS.find(({ is }) => is(bytes));
  try {
    if (format === undefined)
      return refuse(
        "file",
        "",
        `a model of ${FORMATS.map(({ name }) => name).join(", ")}`,
        "something else",
      );
    if (options.network !== undefined && !format.isDescribed)
      refuseFlag("description", "a state_dict beside it, not a whole model", format.name);
    return await (
      await format.reader()
    )(bytes, options);
  } catch (error) {
    const refusal = asRefusal(format?.name ?? "", error);
    throw options.path === undefined ? refusal : inFile(options.path, refusal);
  }
}

/** Libraries throw errors of any kind at damaged files. */
function asRefusal(format: string, error: unknown): FedflatError {
  if (error instanceof FedflatError) return error;
  const said = (error instanceof Error ? error.message : String(error)).slice(0, 200);
  return new ModelError(
    "import",
    `"file" expected a whole file of ${format}, got a damaged one (${said})`,
    { cause: error },
  );
}

/** What a reader gives, or its refusal as one of ours. @throws ModelError `import` */
export function guarded<Result>(format: string, read: () => Result): Result {
  try {
    return read();
  } catch (error) {
    throw asRefusal(format, error);
  }
}

/** The bytes of a model's file. @throws ConfigError `usage`, ModelError `import` where it is too large */
export async function readFileBounded(path: string): Promise<Uint8Array> {
  try {
    const found = await stat(path);
    // A pipe may never end, nor a device.
    if (!found.isFile() && !found.isDirectory())
      throw new ConfigError("usage", `"${path}" expected a file, got a pipe or a device`);
    if (found.size > MAX_FILE) refuse(path, "", `at most ${MAX_FILE} bytes`, String(found.size));
    return await readFile(path);
  } catch (error) {
    if (error instanceof FedflatError) throw error;
    throw new ConfigError(
      "usage",
      `"${path}" expected a file that can be read, got ${inWords(error)}`,
    );
  }
}

/** Files beside this one, none outside of its folder. */
export const filesBeside =
  (path: string): ReadOptions["beside"] =>
  async (name) => {
    if (name !== basename(name)) refuse("file", "paths", "files in the same folder", name);
    return readFileBounded(join(dirname(path), name));
  };
