import { makeDataset, unexpected, type Dataset, type Targets } from "./dataset.js";
import { A_CLASS, groupNumbers, labelsOf, type Labels } from "./labels.js";
import { isText, numbersOf, readNpy, textsOf, type NpyArray } from "./npy.js";
import { readZip } from "./zip.js";
import { shapeText } from "../tensors/shape.js";

const USED = /^((x|y|group|groups|subject)(_train|_test)?|classes)$/;

/** Arrays by name; undefined are those of names that mean nothing here, which nobody looks into. */
export type Arrays = ReadonlyMap<string, NpyArray | undefined>;

/** Whether an array of this name is looked into. */
export const isUsed = (name: string): boolean => USED.test(name);

/** The arrays of an NPZ file, by name. @throws DataError */
export async function readNpz(source: string, bytes: Uint8Array, limit?: number): Promise<Arrays> {
  const arrays = new Map<string, NpyArray | undefined>();
  const files = await readZip(source, bytes, limit, (name) => isUsed(name.replace(/\.npy$/, "")));
  for (const [file, content] of files) {
    const name = file.replace(/\.npy$/, "");
    if (name !== file) arrays.set(name, content && readNpy(`${source}/${name}`, content));
  }
  return arrays;
}

/**
 * Data sets from named arrays: x and y (training), or x_train, y_train, x_test, y_test; beside each optionally one of
 * group, groups or subject (group_train, ...), and `classes` as text. Labels and groups are whole numbers or texts. x of bytes with shape [n, height, width] is grey
 * images and gets a channel axis; any other x keeps the shape it has.
 * y of shape [n, numbers], or any y where `numbers` says so, are number targets.
 * @param unlabelled allow x without y: labels are then -1
 * @throws DataError
 */
export function datasetsOf(
  source: string,
  arrays: Arrays,
  classes?: readonly string[],
  unlabelled = false,
  numbers = false,
): { train?: Dataset; test?: Dataset } {
  const named = arrays.get("classes");
  const names = classes ?? (named && textsOf(named));
  const one = (suffix: string): Dataset | undefined => {
    const x = arrays.get(`x${suffix}`);
    const y = arrays.get(`y${suffix}`);
    if (!x && !y) return undefined;
    if (!x || (!y && !unlabelled))
      throw unexpected(
        "missing",
        source,
        "arrays",
        `both x${suffix} and y${suffix}`,
        [...arrays.keys()].join(", "),
      );
    const [count, ...shape] = x.shape;
    if (shape.length === 0)
      throw unexpected("shape", x.source, "shape", "[examples, ...]", shapeText(x.shape));
    // Several numbers for each example are no classes.
    const several = y !== undefined && (numbers || y.shape.length > 1);
    if (y && (y.shape[0] !== count || (several && (isText(y) || y.length < count))))
      throw unexpected(
        "count",
        y.source,
        several ? "targets" : "labels",
        several
          ? `numbers, the same count for each of ${count} examples of x${suffix}`
          : `${count}, one per example of x${suffix}`,
        `${isText(y) ? "texts, " : ""}${y.shape.join("x") || "a scalar"}`,
      );
    const group = ["group", "groups", "subject"]
      .map((name) => arrays.get(name + suffix))
      .find((array) => array !== undefined);
    const targets = y && several ? targetsIn(y, count, names) : undefined;
    return makeDataset(y?.source ?? x.source, {
      shape: x.type === "u1" && shape.length === 2 ? [...shape, 1] : shape,
      inputs: numbersOf(x),
      inputsFrom: x.source,
      ...(y && !targets ? labelsIn(y, names) : { classes: targets ? [] : names }),
      targets,
      groups: group && (isText(group) ? groupNumbers(textsOf(group)) : valuesOf(group)),
      groupsFrom: group?.source,
    });
  };
  const train = one("_train") ?? one("");
  const test = one("_test");
  if (!train && !test)
    throw unexpected(
      "missing",
      source,
      "arrays",
      "x and y, or x_train, y_train, x_test, y_test",
      [...arrays.keys()].join(", ") || "none",
    );
  return { train, test };
}

/** Number targets; `classes` names them where there are as many. */
function targetsIn(y: NpyArray, count: number, names: readonly string[] | undefined): Targets {
  const size = y.length / count;
  const numbers = numbersOf(y);
  // Bytes, too, are targets as float32.
  const values = numbers instanceof Float32Array ? numbers : Float32Array.from(numbers);
  return {
    ...{ kind: "numbers", size, values },
    ...(names?.length === size && { columns: names }),
  };
}

/** The classes of labels that are numbers, or texts. */
function labelsIn(y: NpyArray, names: readonly string[] | undefined): Labels {
  if (!isText(y)) {
    const labels = valuesOf(y);
    const fraction = labels.findIndex(
      (label) => Number.isFinite(label) && !Number.isInteger(label),
    );
    if (fraction >= 0)
      throw unexpected(
        "label",
        y.source,
        `label of example ${fraction}`,
        `${A_CLASS} (--target y learns measurements)`,
        String(labels[fraction]),
      );
    return { labels, classes: names };
  }
  const texts = textsOf(y).map((text) => text.trim());
  return labelsOf(y.source, texts, (i) => `label of example ${i}`, names);
}

const valuesOf = (array: NpyArray): Float64Array =>
  Float64Array.from({ length: array.length }, (_, i) => array.at(i));
