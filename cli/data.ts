import { readFile, readdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { DataError } from "../runtime/errors.js";
import { unexpected, type Dataset } from "../runtime/data/dataset.js";
import { CIFAR_10, CIFAR_100, readCifar } from "../runtime/data/cifar.js";
import { readCsv, type CsvOptions } from "../runtime/data/csv.js";
import { harFiles, readHar } from "../runtime/data/har.js";
import { readIdxPair } from "../runtime/data/idx.js";
import { inflate, isGzip } from "../runtime/data/inflate.js";
import { readNpy } from "../runtime/data/npy.js";
import { datasetsOf, readNpz } from "../runtime/data/npz.js";

/**
 * `classes` may be needed in any format, where the data's own numbering may differ from the
 * federation's, and `unlabelled` (data to predict: IDX, NPZ, NPY and CSV may come without labels,
 * which are then -1); the rest is for CSV.
 */
export interface OpenOptions extends CsvOptions {
  /** Most bytes one compressed file may unpack to. */
  readonly limitBytes?: number;
}

/**
 * What lies at a path. At least one of train and test is there; both have the same shape and the
 * same classes.
 */
export interface OpenedData {
  readonly format: "idx" | "cifar-100" | "cifar-10" | "uci-har" | "npz" | "npy" | "csv";
  readonly train?: Dataset;
  readonly test?: Dataset;
}

/** A folder that is looked at, or a file taken as the only one of its folder. */
interface Place {
  readonly folder: string;
  readonly names: readonly string[];
  readonly options: OpenOptions;
}

/** A format: what it is known by, and how it is opened (undefined where it is not there). */
interface Format {
  readonly lookedFor: string;
  open(place: Place): Promise<OpenedData | undefined>;
}

const FORMATS: readonly Format[] = [
  { lookedFor: "*-images-idx3-ubyte(.gz)", open: openIdx },
  {
    lookedFor: "cifar-100-binary (train.bin, test.bin)",
    open: openCifar100,
  },
  {
    lookedFor: "cifar-10-batches-bin (data_batch_1.bin ..., test_batch.bin)",
    open: openCifar10,
  },
  {
    lookedFor: "UCI HAR Dataset (train/Inertial Signals ...)",
    open: openHar,
  },
  { lookedFor: "*.npz", open: openNpz },
  { lookedFor: "x.npy with y.npy (or x_train.npy ...)", open: openNpy },
  { lookedFor: "*.csv", open: openCsv },
];

/**
 * Opens labelled data by what it is: a folder in one of the known layouts, or one file of it (see docs/data.md).
 * Inputs and labels lie on shared memory, so that workers can use them without a copy.
 * @throws DataError one sentence that names the file and the field, or what was looked for and what was found
 */
export async function openData(path: string, options: OpenOptions = {}): Promise<OpenedData> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    throw unreadable(path, error);
  });
  const place = found.isDirectory()
    ? await look(path, options)
    : { folder: dirname(path), names: [basename(path)], options };
  for (const format of FORMATS) {
    const opened = await format.open(place);
    if (opened) return together(path, opened);
  }
  const listed = place.names.slice(0, 8).join(", ") || "an empty folder";
  const more = place.names.length > 8 ? `, and ${place.names.length - 8} more` : "";
  throw new DataError(
    "unknown-data",
    `"${path}" expected one of ${FORMATS.map((format) => format.lookedFor).join("; ")}, got ${listed}${more}`,
  );
}

async function openIdx(place: Place): Promise<OpenedData | undefined> {
  const open = async (pattern: RegExp): Promise<Dataset | undefined> => {
    const images = place.names.find((name) => pattern.test(name));
    if (!images) return undefined;
    // Labels are looked for in the folder, packed or not, even where a single images file was
    // named.
    const beside = (await look(place.folder, place.options)).names;
    const stem = images.replace("images", "labels").replace(/idx\d/, "idx1").replace(/\.gz$/, "");
    const labels = beside.find((name) => name === stem || name === `${stem}.gz`);
    if (!labels && !place.options.unlabelled)
      throw new DataError(
        "missing",
        `"${join(place.folder, images)}" expected ${stem}(.gz) beside it, got no such file`,
      );
    return readIdxPair(
      { source: images, bytes: await read(place, images) },
      labels === undefined ? undefined : { source: labels, bytes: await read(place, labels) },
      await classNames(place, "classes.txt"),
    );
  };
  const train = await open(/^train-images[-.]idx\d-ubyte(\.gz)?$/);
  const test = await open(/^(t10k|test)-images[-.]idx\d-ubyte(\.gz)?$/);
  return train || test ? { format: "idx", train, test } : undefined;
}

async function openCifar100(place: Place): Promise<OpenedData | undefined> {
  const here = await within(place, "cifar-100-binary");
  if (!here.names.includes("train.bin") && !here.names.includes("test.bin")) return undefined;
  const classes = await classNames(here, "fine_label_names.txt");
  const open = async (name: string) =>
    here.names.includes(name)
      ? readCifar([{ source: name, bytes: await read(here, name) }], CIFAR_100, classes)
      : undefined;
  return {
    format: "cifar-100",
    train: await open("train.bin"),
    test: await open("test.bin"),
  };
}

async function openCifar10(place: Place): Promise<OpenedData | undefined> {
  const here = await within(place, "cifar-10-batches-bin");
  const open = async (pattern: RegExp) => {
    const files = here.names.filter((name) => pattern.test(name));
    if (files.length === 0) return undefined;
    const batches = [];
    for (const name of files) batches.push({ source: name, bytes: await read(here, name) });
    return readCifar(batches, CIFAR_10, await classNames(here, "batches.meta.txt"));
  };
  const train = await open(/^data_batch_\d+\.bin$/);
  const test = await open(/^test_batch\.bin$/);
  return train || test ? { format: "cifar-10", train, test } : undefined;
}

async function openHar(place: Place): Promise<OpenedData | undefined> {
  const here = await within(place, "UCI HAR Dataset");
  const open = async (half: "train" | "test") => {
    if (!here.names.includes(half)) return undefined;
    const inside = await readdir(join(here.folder, half)).catch((): string[] => []);
    if (!inside.includes("Inertial Signals")) return undefined;
    const files = [];
    for (const name of harFiles(half)) files.push(await read(here, name));
    return readHar(half, files);
  };
  const train = await open("train");
  const test = await open("test");
  return train || test ? { format: "uci-har", train, test } : undefined;
}

async function openNpz(place: Place): Promise<OpenedData | undefined> {
  const files = place.names.filter((name) => name.endsWith(".npz"));
  if (files.length === 0) return undefined;
  const classes = await classNames(place, "classes.txt");
  const open = async (name: string) =>
    datasetsOf(
      name,
      await readNpz(name, await read(place, name), place.options.limitBytes),
      classes,
      place.options.unlabelled,
    );
  return { format: "npz", ...(await oneOrTwo(place, files, ".npz", open)) };
}

async function openNpy(place: Place): Promise<OpenedData | undefined> {
  if (!place.names.some((name) => /^x(_train|_test)?\.npy$/.test(name))) return undefined;
  const arrays = new Map();
  for (const name of place.names.filter((n) => n.endsWith(".npy")))
    arrays.set(name.slice(0, -4), readNpy(name, await read(place, name)));
  return {
    format: "npy",
    ...datasetsOf(place.folder, arrays, await classNames(place, "classes.txt")),
  };
}

async function openCsv(place: Place): Promise<OpenedData | undefined> {
  const files = place.names.filter((name) => /\.csv(\.gz)?$/.test(name));
  if (files.length === 0) return undefined;
  const classes = await classNames(place, "classes.txt");
  const open = async (name: string, before?: Dataset) => ({
    train: readCsv(name, await read(place, name), {
      ...place.options,
      classes: classes ?? textual(before),
    }),
  });
  return { format: "csv", ...(await oneOrTwo(place, files, ".csv", open)) };
}

/**
 * The class names of training data whose labels were texts: the test data must be numbered by them.
 */
function textual(train?: Dataset): readonly string[] | undefined {
  return train?.classes.some((name, i) => name !== String(i)) ? train.classes : undefined;
}

/** Data of one file, or of train.EXT and test.EXT. */
async function oneOrTwo(
  place: Place,
  files: readonly string[],
  extension: string,
  open: (name: string, before?: Dataset) => Promise<{ train?: Dataset; test?: Dataset }>,
): Promise<{ train?: Dataset; test?: Dataset }> {
  if (files.length === 1) return open(files[0]);
  const named = (split: string) =>
    files.find((name) => name.replace(/\.gz$/, "") === split + extension);
  const trainFile = named("train");
  const testFile = named("test");
  if (!trainFile || !testFile || files.length > 2)
    throw new DataError(
      "unknown-data",
      `"${place.folder}" expected one ${extension} file, or train${extension} and test${extension}, got ${files.join(", ")}`,
    );
  const { train } = await open(trainFile);
  const { train: test } = await open(testFile, train);
  return { train, test };
}

/** Names from the options, else from a file with one name per line where there is one. */
async function classNames(place: Place, file: string): Promise<readonly string[] | undefined> {
  if (place.options.classes) return place.options.classes;
  const { names } = await look(place.folder, place.options);
  if (!names.includes(file)) return undefined;
  const text = new TextDecoder().decode(await read(place, file));
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
}

/**
 * Both halves must be of one kind: where classes are only numbered, the longer numbering serves
 * both.
 */
function together(path: string, opened: OpenedData): OpenedData {
  const { train, test } = opened;
  if (!train || !test) return opened;
  if (train.shape.join("x") !== test.shape.join("x"))
    throw unexpected("shape", path, "test examples", train.shape.join("x"), test.shape.join("x"));
  const classes = train.classes.length >= test.classes.length ? train.classes : test.classes;
  return {
    ...opened,
    train: { ...train, classes },
    test: { ...test, classes },
  };
}

/** The named folder where the place holds it, else the place itself. */
async function within(place: Place, name: string): Promise<Place> {
  return place.names.includes(name) ? look(join(place.folder, name), place.options) : place;
}

async function look(folder: string, options: OpenOptions): Promise<Place> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    throw unreadable(folder, error);
  });
  return { folder, names: names.sort(), options };
}

async function read(place: Place, name: string): Promise<Uint8Array> {
  const path = join(place.folder, name);
  const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    throw unreadable(path, error);
  });
  return isGzip(bytes) ? inflate(name, bytes, "gzip", place.options.limitBytes) : bytes;
}

function unreadable(path: string, error: NodeJS.ErrnoException): DataError {
  const reasons: Record<string, string> = {
    ENOENT: "nothing there",
    EACCES: "no permission to read it",
    EISDIR: "a folder",
  };
  return new DataError(
    "unreadable",
    `"${path}" expected readable data, got ${reasons[error.code ?? ""] ?? error.message}`,
    { cause: error },
  );
}
