import { makeDataset, sharedArray, unexpected, type Dataset } from "./dataset.js";

/** How a row begins in the binary versions of CIFAR (cs.toronto.edu/~kriz/cifar.html). */
export interface CifarLayout {
  /** Label bytes before the pixels; the last of them is the class. */
  readonly labelBytes: number;
  readonly classes: number;
}

export const CIFAR_10: CifarLayout = { labelBytes: 1, classes: 10 };
/** A coarse label (20 superclasses, not used) and a fine one. */
export const CIFAR_100: CifarLayout = { labelBytes: 2, classes: 100 };

const SIDE = 32;
const PLANE = SIDE * SIDE;

/**
 * Files of one half of CIFAR, one after the other: rows of label bytes, then a red, a green and a blue plane, become
 * images of shape [32, 32, 3].
 * @param classes names; without them the classes are numbered
 * @throws DataError `truncated`, `count`, `label`
 */
export function readCifar(
  files: readonly { source: string; bytes: Uint8Array }[],
  layout: CifarLayout,
  classes: readonly string[] = Array.from({ length: layout.classes }, (_, i) => String(i)),
): Dataset {
  const { labelBytes } = layout;
  const rowBytes = labelBytes + 3 * PLANE;
  for (const { source, bytes } of files)
    if (bytes.length === 0 || bytes.length % rowBytes !== 0)
      throw unexpected(
        "truncated",
        source,
        "size",
        `a multiple of ${rowBytes} bytes (one image)`,
        String(bytes.length),
      );
  const source = files.map((file) => file.source).join(", ");
  if (classes.length !== layout.classes)
    throw unexpected(
      "count",
      source,
      "class names",
      String(layout.classes),
      String(classes.length),
    );

  const count = files.reduce((n, { bytes }) => n + bytes.length / rowBytes, 0);
  const inputs = sharedArray(Uint8Array, count * 3 * PLANE);
  const labels = new Uint8Array(count);
  let out = 0;
  let example = 0;
  for (const { bytes } of files)
    for (let row = 0; row < bytes.length; row += rowBytes) {
      const red = row + labelBytes;
      labels[example++] = bytes[red - 1];
      for (let i = red; i < red + PLANE; i++) {
        inputs[out++] = bytes[i];
        inputs[out++] = bytes[i + PLANE];
        inputs[out++] = bytes[i + 2 * PLANE];
      }
    }
  return makeDataset(source, {
    shape: [SIDE, SIDE, 3],
    inputs,
    labels,
    classes,
  });
}
