/**
 * Readers of data sets, and how they are dealt to clients (docs/data.md).
 *
 * @module fedflat/data
 */

export {
  makeDataset,
  type Dataset,
  type Examples,
  type Targets,
  type Normalisation,
  type Part,
} from "./dataset.js";
export { matched, type Expected } from "./matching.js";
export { readIdx, readIdxPair } from "./idx.js";
export { numbersOf, readNpy, textsOf, type NpyArray } from "./npy.js";
export { datasetsOf, readNpz, type Arrays } from "./npz.js";
export { readCsv, type CsvOptions } from "./csv.js";
export { CIFAR_10, CIFAR_100, readCifar, type CifarLayout } from "./cifar.js";
export { HAR_CLASSES, harFiles, readHar } from "./har.js";
export { windowsOf, type WindowOptions } from "./windows.js";
export { readCharacters, type NamedText } from "./characters.js";
export { inflate, isGzip } from "./inflate.js";
export { normalisationOf, normalisations } from "./normalise.js";
export { classCounts, parseSplit, splitRows, splitTable, type Split } from "./split.js";
