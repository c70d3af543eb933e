import { makeDataset, unexpected, type Dataset } from "./dataset.js";
import { numbersOf, readNpy, textsOf, type NpyArray } from "./npy.js";
import { readZip } from "./zip.js";

/** The arrays of an NPZ file, by name. @throws DataError */
export async function readNpz(
  source: string,
  bytes: Uint8Array,
  limit?: number,
): Promise<Map<string, NpyArray>> {
  const arrays = new Map<string, NpyArray>();
  for (const [name, content] of await readZip(source, bytes, limit))
    if (name.endsWith(".npy"))
      arrays.set(name.slice(0, -4), readNpy(`${source}/${name.slice(0, -4)}`, content));
  return arrays;
}

/**
 * Data sets from named arrays: x and y (training), or x_train, y_train, x_test, y_test; beside each optionally one of
 * group, groups or subject (group_train, ...), and `classes` as text. x of bytes with shape [n, height, width] is grey
 * images and gets a channel axis; any other x keeps the shape it has.
 * @param unlabelled allow x without y: labels are then -1
 * @throws DataError
 */
export function datasetsOf(
  source: string,
  arrays: ReadonlyMap<string, NpyArray>,
  classes?: readonly string[],
  unlabelled = false,
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
      throw unexpected("shape", x.source, "shape", "[examples, ...]", `[${x.shape.join(", ")}]`);
    if (y && (y.length !== count || y.shape[0] !== count))
      throw unexpected(
        "count",
        y.source,
        "labels",
        `${count}, one per example of x${suffix}`,
        y.shape.join("x") || "a scalar",
      );
    const group = ["group", "groups", "subject"]
      .map((name) => arrays.get(name + suffix))
      .find((array) => array !== undefined);
    return makeDataset(y?.source ?? x.source, {
      shape: x.type === "u1" && shape.length === 2 ? [...shape, 1] : shape,
      inputs: numbersOf(x),
      labels: y && valuesOf(y),
      groups: group && valuesOf(group),
      classes: names,
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

function valuesOf(array: NpyArray): Float64Array {
  if (array.type.startsWith("U")) throw unexpected("type", array.source, "type", "numbers", "text");
  return Float64Array.from({ length: array.length }, (_, i) => array.at(i));
}
