import { readFile, readdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { ConfigError, DataError } from "../runtime/errors.js";
import { readCharacters, type NamedText } from "../runtime/data/characters.js";
import { windowsOf } from "../runtime/data/windows.js";
import { makeDataset, sharedArray, unexpected, type Dataset } from "../runtime/data/dataset.js";
import { CIFAR_10, CIFAR_100, readCifar } from "../runtime/data/cifar.js";
import { readCsv, type CsvOptions } from "../runtime/data/csv.js";
import { harFiles, readHar } from "../runtime/data/har.js";
import { readIdxPair } from "../runtime/data/idx.js";
import { inflate, isGzip } from "../runtime/data/inflate.js";
import { numbered } from "../runtime/data/labels.js";
import { withClasses, withColumns } from "../runtime/data/matching.js";
import { readNpy, type NpyArray } from "../runtime/data/npy.js";
import { datasetsOf, isUsed, readNpz } from "../runtime/data/npz.js";
import { textOf } from "../runtime/data/text.js";
import { expectedBy, type Model } from "../runtime/models/model.js";
import { inWords } from "../runtime/platform/system-errors.js";
import { PICTURE, readPictures } from "./pictures.js";

/**
 * `unlabelled` is for data to predict (IDX, NPZ, NPY and CSV may come without labels, which are
 * then -1); the rest is for CSV. Class names are the data's own: `matched` brings them to a
 * model's.
 */
interface OpenOptions extends Omit<CsvOptions, "classes" | "series"> {
  /** Windows of series, or of characters. */
  readonly window?: number;
  readonly stride?: number;
  /** The characters of a model's texts. */
  readonly vocabulary?: readonly string[];
  /** Most bytes that one compressed file may unpack to. */
  readonly limitBytes?: number;
}

/** What the flags of a command say of the data that it opens. */
export const openOptions = (settings: {
  readonly shape?: readonly number[];
  readonly labelColumn?: string;
  readonly target?: readonly string[];
  readonly window?: number;
  readonly stride?: number;
  readonly groupColumn?: string;
}): OpenOptions => ({
  shape: settings.shape,
  label: settings.labelColumn,
  targets: settings.target,
  window: settings.window,
  stride: settings.stride,
  group: settings.groupColumn,
});

/** How data are opened for a model: as windows or texts, or as rows of its input's shape. */
export function optionsFor(model: Model, options: OpenOptions): OpenOptions {
  const { input } = model.description;
  const { target } = expectedBy(model);
  const { vocabulary } = model;
  if (vocabulary !== undefined) return { ...options, vocabulary, window: input[0] };
  if (options.window !== undefined)
    return {
      ...options,
      targets: options.targets ?? [target?.kind === "input" ? "input" : "next"],
    };
  return { ...options, targets: options.targets ?? target?.columns, shape: input };
}

/**
 * What lies at a path. At least one of train and test is there; both have the same shape and the
 * same classes.
 */
export interface OpenedData {
  readonly format:
    "idx" | "cifar-100" | "cifar-10" | "uci-har" | "npz" | "npy" | "csv" | "text" | "pictures";
  readonly train?: Dataset;
  readonly test?: Dataset;
}

/** A folder that is looked at, or a file taken as the only one of its folder. */
interface Place {
  readonly folder: string;
  readonly names: readonly string[];
  /** A file was named, and not the folder. */
  readonly file: boolean;
  readonly options: OpenOptions;
}

/** A format: what it is known by, and how it is opened (undefined where it is not there). */
interface Format {
  readonly lookedFor: string;
  open(place: Place): Promise<OpenedData | undefined>;
}

const FORMATS: readonly Format[] = [
  { lookedFor: "train-images-idx3-ubyte(.gz)", open: openIdx },
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
  { lookedFor: "*.txt (with --window)", open: openText },
  { lookedFor: "*.png or *.jpg (to predict)", open: openPictures },
];

/**
 * Opens labelled data by what it is: a folder in one of the known layouts, or one file of it (see
 * docs/data.md). Inputs and labels lie on shared memory, so that workers can use them without a
 * copy.
 * @throws DataError one sentence that names the file and the field, or what was looked for and what
 * was found
 */
export async function openData(path: string, options: OpenOptions = {}): Promise<OpenedData> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    throw unreadable(path, error);
  });
  const place = found.isDirectory()
    ? await look(path, options)
    : { folder: dirname(path), names: [basename(path)], file: true, options };
  for (const format of FORMATS) {
    const opened = await format.open(place);
    if (opened) return together(path, windowed(opened, options));
  }
  const listed = place.names.slice(0, 8).join(", ") || "an empty folder";
  const more = place.names.length > 8 ? `, and ${place.names.length - 8} more` : "";
  const texts =
    place.names.length > 0 && place.names.every(isText)
      ? "--window beside texts (how many characters an example has), or "
      : "";
  throw new DataError(
    "unknown-data",
    `"${path}" expected ${texts}one of ${FORMATS.map((format) => format.lookedFor).join("; ")}, got ${listed}${more}`,
  );
}

/** Names of IDX images: what set they are of (`emnist-letters-`, often nothing), and which half. */
const IDX_IMAGES = /^(.*-)?(train|t10k|test)-images[-.]idx\d-ubyte(\.gz)?$/;

async function openIdx(place: Place): Promise<OpenedData | undefined> {
  const found = place.names.flatMap((name) => {
    const [, set = "", half] = IDX_IMAGES.exec(name) ?? [];
    return half === undefined ? [] : [{ name, set, train: half === "train" }];
  });
  const sets = [...new Set(found.map(({ set }) => set))];
  if (sets.length > 1)
    throw new DataError(
      "unknown-data",
      `"${place.folder}" expected one data set, got ${sets.map((set) => `${set}*`).join(", ")} (name one of the files)`,
    );
  const open = async (images?: string): Promise<Dataset | undefined> => {
    if (images === undefined) return undefined;
    // Labels are looked for in the folder, packed or not, even where a single images file was
    // named.
    const beside = (await look(place.folder, place.options)).names;
    const stem = images.replace(/-images([-.])idx\d/, "-labels$1idx1").replace(/\.gz$/, "");
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
  const train = await open(found.find(({ train }) => train)?.name);
  const test = await open(found.find(({ train }) => !train)?.name);
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
      isWithoutY(place.options),
      isY(place.options),
    );
  return { format: "npz", ...(await oneOrTwo(place, files, ".npz", open)) };
}

async function openNpy(place: Place): Promise<OpenedData | undefined> {
  const files = place.names.filter((name) => name.endsWith(".npy"));
  // One file that was named alone holds inputs, whatever its name.
  const alone = place.file ? files.at(0) : undefined;
  if (alone === undefined && !files.some((name) => /^x(_train|_test)?\.npy$/.test(name)))
    return undefined;
  const arrays = new Map<string, NpyArray | undefined>();
  for (const file of files) {
    const name = alone === undefined ? file.slice(0, -4) : "x";
    arrays.set(name, isUsed(name) ? readNpy(file, await read(place, file)) : undefined);
  }
  return {
    format: "npy",
    ...datasetsOf(
      alone ?? place.folder,
      arrays,
      await classNames(place, "classes.txt"),
      isWithoutY(place.options),
      isY(place.options),
    ),
  };
}

/** Arrays have no columns with names: the target is y. */
const isY = ({ targets }: OpenOptions): boolean => targets?.join() === "y";

/** Nothing is asked of y where it may be left out, or where the target is in x. */
const isWithoutY = ({ unlabelled, targets }: OpenOptions): boolean | undefined =>
  unlabelled || /^(input|next(:.*)?)$/.test(targets?.[0]?.toString() ?? "");

async function openCsv(place: Place): Promise<OpenedData | undefined> {
  const files = place.names.filter((name) => /\.csv(\.gz)?$/.test(name));
  if (files.length === 0) return undefined;
  const classes = await classNames(place, "classes.txt");
  const open = async (name: string) => ({
    train: readCsv(name, await read(place, name), {
      ...place.options,
      // Targets of windows are rows of the series itself, and an input needs no label.
      ...((place.options.window !== undefined || place.options.targets?.join() === "input") && {
        series: true,
        targets: undefined,
      }),
      classes,
    }),
  });
  const halves = files.every((name) => /^(train|test)\.csv(\.gz)?$/.test(name));
  if (place.options.window === undefined || files.length === 1 || halves)
    return { format: "csv", ...(await oneOrTwo(place, files, ".csv", open)) };
  const series = [];
  for (const name of files) series.push({ name, ...(await open(name)) });
  return {
    format: "csv",
    train: oneBehindTheOther(series.map(({ name, train }) => [name, train])),
  };
}

/**
 * The rows of several files, each a series and a group by itself. Columns are those of the first
 * file; labels that are texts are numbered in alphabetical order.
 */
function oneBehindTheOther(files: readonly (readonly [name: string, rows: Dataset])[]): Dataset {
  const [[first, { shape, columns }]] = files;
  const longest = files.map(([, { classes }]) => classes).sort((a, b) => b.length - a.length)[0];
  const names = files.every(([, { classes }]) => numbered(classes))
    ? longest
    : [...new Set(files.flatMap(([, { classes }]) => classes))].sort();
  const all = files.map(([name, rows]) => {
    if (rows.shape.join() !== shape.join())
      throw unexpected(
        "shape",
        name,
        "rows",
        `${shape.join("x")} numbers, as in ${first}`,
        rows.shape.join("x"),
      );
    return withClasses(name, withColumns(name, rows, columns), names);
  });
  const size = all.reduce((sum, { inputs }) => sum + inputs.length, 0);
  const inputs = sharedArray(Float32Array, size);
  let at = 0;
  for (const one of all) {
    inputs.set(one.inputs, at);
    at += one.inputs.length;
  }
  const isLabelled = all.every(({ labels }) => labels[0] >= 0);
  // A file's own groups are series of their own.
  const numbers = new Map<string, number>();
  const groups = all.flatMap(({ labels, groups }, file) =>
    Array.from(labels, (_, row) => {
      const key = `${file} ${groups?.[row]}`;
      if (!numbers.has(key)) numbers.set(key, numbers.size);
      return numbers.get(key)!;
    }),
  );
  const joined = makeDataset(first, {
    ...{ shape, inputs, groups },
    ...(isLabelled && { labels: all.flatMap(({ labels }) => [...labels]) }),
    classes: isLabelled ? names : [],
  });
  return { ...joined, columns };
}

const isText = (name: string): boolean =>
  /\.txt(\.gz)?$/.test(name) && !/^(classes|README)\.txt$/i.test(name);

/** Characters of texts, each file a group; of train.txt and test.txt both halves. */
async function openText(place: Place): Promise<OpenedData | undefined> {
  const names = place.names.filter(isText);
  const { window, stride, vocabulary } = place.options;
  // Text files beside data of another kind are notes, not data.
  if (names.length === 0 || window === undefined) return undefined;
  const texts: NamedText[] = [];
  for (const name of names)
    texts.push({ source: name, text: textOf(name, await read(place, name)).replaceAll("\r", "") });
  const isHalf = (half: string) => (text: NamedText) => text.source.startsWith(`${half}.txt`);
  const [train, test] = [texts.find(isHalf("train")), texts.find(isHalf("test"))];
  if (train === undefined || test === undefined)
    return { format: "text", train: readCharacters(texts, { window, stride, vocabulary }) };
  const opened = readCharacters([train], { window, stride, vocabulary });
  const known = opened.vocabulary;
  return {
    format: "text",
    train: opened,
    test: readCharacters([test], { window, stride, vocabulary: known }),
  };
}

/** Windows of the rows that were opened, where they are asked for. */
function windowed(opened: OpenedData, options: OpenOptions): OpenedData {
  const { window, stride, targets = ["label"] } = options;
  if (window === undefined || opened.format === "text") return opened;
  const [kind, ...rest] = String(targets[0]).split(":");
  if (kind !== "next" && kind !== "input" && kind !== "label")
    throw new ConfigError(
      "usage",
      `"--target" expected next, next:COLUMNS, input or label beside --window, got "${targets.join(",")}"`,
    );
  const columns = rest.length > 0 ? [...rest, ...targets.slice(1).map(String)] : undefined;
  const cut = (dataset: Dataset | undefined, half: string) => {
    if (dataset === undefined) return undefined;
    if (dataset.shape.length !== 1)
      throw unexpected("shape", half, "rows", "numbers in one row each", dataset.shape.join("x"));
    return windowsOf(half, dataset, { window, stride, target: kind, columns });
  };
  return { ...opened, train: cut(opened.train, "data"), test: cut(opened.test, "test data") };
}

/** Pictures without labels, in the order of their names. */
async function openPictures(place: Place): Promise<OpenedData | undefined> {
  const { unlabelled, shape } = place.options;
  const names = place.names.filter((name) => PICTURE.test(name));
  if (names.length === 0 || !unlabelled || shape === undefined) return undefined;
  const files = [];
  for (const name of names) files.push({ source: name, bytes: await read(place, name) });
  const inputs = readPictures(files, shape);
  return { format: "pictures", test: makeDataset(place.folder, { shape, inputs }) };
}

/** Data of one file, or of train.EXT and test.EXT. */
async function oneOrTwo(
  place: Place,
  files: readonly string[],
  extension: string,
  open: (name: string) => Promise<{ train?: Dataset; test?: Dataset }>,
): Promise<{ train?: Dataset; test?: Dataset }> {
  if (files.length === 1) return open(files[0]);
  const named = (split: string) =>
    files.find((name) => name.replace(/\.gz$/, "") === split + extension);
  const trainFile = named("train");
  const testFile = named("test");
  if (!trainFile || !testFile || files.length > 2)
    throw new DataError(
      "unknown-data",
      `"${place.folder}" expected one ${extension} file, or train${extension} and test${extension}${extension === ".csv" ? " (or --window, by which each is a series of its own)" : ""}, got ${files.join(", ")}`,
    );
  const { train } = await open(trainFile);
  const { train: test } = await open(testFile);
  return { train, test };
}

/** Names from a file with one name per line, where there is one. */
async function classNames(place: Place, file: string): Promise<readonly string[] | undefined> {
  const beside = (await look(place.folder, place.options)).names;
  if (!beside.includes(file)) return undefined;
  return textOf(file, await read(place, file))
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
}

/**
 * Both halves of one kind: the test data take the training data's columns and names. Where classes
 * are only numbered, the longer numbering serves both.
 */
function together(path: string, opened: OpenedData): OpenedData {
  const { train, test } = opened;
  if (!train || !test) return opened;
  const source = `test data of ${path}`;
  if (train.shape.join("x") !== test.shape.join("x"))
    throw unexpected("shape", path, "test examples", train.shape.join("x"), test.shape.join("x"));
  const arranged = withColumns(source, test, train.columns);
  if (train.targets !== undefined) return { ...opened, test: arranged };
  if (!numbered(train.classes) || !numbered(test.classes))
    return { ...opened, test: withClasses(source, arranged, train.classes) };
  const classes = train.classes.length >= test.classes.length ? train.classes : test.classes;
  return {
    ...opened,
    train: { ...train, classes },
    test: { ...arranged, classes },
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
  return { folder, names: names.sort(), file: false, options };
}

async function read(place: Place, name: string): Promise<Uint8Array> {
  const path = join(place.folder, name);
  const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    throw unreadable(path, error);
  });
  return isGzip(bytes) ? inflate(name, bytes, "gzip", place.options.limitBytes) : bytes;
}

function unreadable(path: string, error: NodeJS.ErrnoException): DataError {
  return new DataError("unreadable", `"${path}" expected readable data, got ${inWords(error)}`, {
    cause: error,
  });
}
