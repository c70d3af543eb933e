import * as v from "valibot";
import { MAX_PATCH } from "../../wasm/kernels.js";
import type { Window } from "../../wasm/window.js";
import type { Complain, Shape } from "./layer.js";
import { shapeText } from "../../tensors/shape.js";

// The fields that several kinds of layer share. A schema's message is the end of a sentence:
// "expected ...".

/** A number that passes a test. */
export const numberThat = <const Message extends string>(
  message: Message,
  passes: (value: number) => boolean,
) => v.custom<number, Message>((value) => typeof value === "number" && passes(value), message);

const isWhole = (least: number) => (value: unknown) =>
  Number.isSafeInteger(value) && (value as number) >= least;
export const positiveInteger = numberThat("a positive integer", isWhole(1));
export const positive = numberThat("a positive number", (value) => value > 0 && value < Infinity);
/** A share that is not the whole. */
export const belowOne = numberThat(
  "a number from 0 to below 1",
  (value) => value >= 0 && value < 1,
);

/** A list that is not empty, and not longer than `most`. */
export const listOf = <Item extends v.GenericSchema>(
  item: Item,
  message: string,
  most = Infinity,
) => v.pipe(v.array(item, message), v.minLength(1, message), v.maxLength(most, message));

/** The shape of one example. */
export const exampleShape = listOf(positiveInteger, "one to three positive integers", 3);

export const trueOrFalse = v.optional(v.boolean("true or false"));

/** What normalisations add to a variance: as in PyTorch. */
export const EPSILON = 1e-5;
export const epsilon = v.optional(positive);

export type Pair<Item> = readonly [Item, Item];
const isPair = (value: unknown, passes: (item: unknown) => boolean) =>
  Array.isArray(value) && value.length === 2 && value.every(passes);

/** One number for both axes, or [height, width]. */
export const integerOrPair = v.custom<number | Pair<number>>(
  (value) => isWhole(1)(value) || isPair(value, isWhole(1)),
  "a positive integer or a pair of them",
);

/** What is put around an image: a rule, or numbers of zeros. */
export type Padding = "valid" | "same" | Pair<Pair<number>>;
export const padding = v.optional(v.picklist(["valid", "same"], `"valid" or "same"`));
export const anyPadding = v.optional(
  v.custom<Padding>(
    (value) =>
      value === "valid" || value === "same" || isPair(value, (sides) => isPair(sides, isWhole(0))),
    `"valid", "same" or [[top, bottom], [left, right]]`,
  ),
);

/** A layer's input as an image; a sequence [length, channels] is an image of height 1. */
interface Image {
  readonly height: number;
  readonly width: number;
  readonly channels: number;
}

/** [length, channels] of the input. */
export function sequenceOf(input: Shape, complain: Complain): readonly [number, number] {
  if (input.length !== 2) complain("input", "[length, channels]", shapeText(input));
  return [input[0], input[1]];
}

/** The input as an image, where it has the rank asked for (2: a sequence, 3: an image). */
export function imageOf(input: Shape, ranks: readonly (2 | 3)[], complain: Complain): Image {
  const [height, width, channels] = input.length === 2 ? [1, ...input] : input;
  if (!ranks.includes(input.length as 2 | 3))
    complain(
      "input",
      ranks
        .map((rank) => (rank === 2 ? "[length, channels]" : "[height, width, channels]"))
        .join(" or "),
      shapeText(input),
    );
  return { height, width, channels };
}

/** A number for each axis of the image: of a sequence only the second axis slides. */
export function axes(
  field: string,
  value: number | Pair<number>,
  input: Shape,
  complain: Complain,
): Pair<number> {
  if (typeof value !== "number")
    return input.length === 3
      ? value
      : complain(field, "one number for a sequence", JSON.stringify(value));
  return input.length === 3 ? [value, value] : [1, value];
}

/** How a description lets a window slide: steps of 1 and no padding where it does not say. */
interface Sliding {
  readonly size: number | Pair<number>;
  readonly strides?: number | Pair<number>;
  readonly padding?: Padding;
}

/**
 * The window's way over the image, of the rank of `input`. "same" gives ceil(size / stride) outputs
 * and, as in TensorFlow, puts the odd pixel of padding at the bottom and right.
 * @param field the description's name of the size
 */
export function windowOf(
  input: Shape,
  image: Image,
  field: "kernelSize" | "size",
  { size, strides = 1, padding = "valid" }: Sliding,
  complain: Complain,
  outChannels = image.channels,
): Window {
  const kernel = axes(field, size, input, complain);
  const stride = axes("strides", strides, input, complain);
  const along = (size: number, kernel: number, stride: number, axis: 0 | 1) => {
    if (typeof padding !== "string") {
      const [before, after] = padding[axis];
      if (before >= kernel || after >= kernel)
        complain("padding", `less than ${field} on each side`, JSON.stringify(padding));
      if (kernel > size + before + after)
        complain(field, `at most its padded input's ${size + before + after}`, String(kernel));
      return { out: Math.floor((size + before + after - kernel) / stride) + 1, pad: before };
    }
    if (padding === "valid") {
      if (kernel > size)
        complain(
          field,
          `at most its input's ${image.height === 1 ? `length ${image.width}` : `${image.height} x ${image.width}`}`,
          String(kernel),
        );
      return { out: Math.floor((size - kernel) / stride) + 1, pad: 0 };
    }
    const out = Math.ceil(size / stride);
    const total = Math.max((out - 1) * stride + kernel - size, 0);
    return { out, pad: Math.floor(total / 2) };
  };
  const vertical = along(image.height, kernel[0], stride[0], 0);
  const horizontal = along(image.width, kernel[1], stride[1], 1);
  return {
    inHeight: image.height,
    inWidth: image.width,
    inChannels: image.channels,
    outHeight: vertical.out,
    outWidth: horizontal.out,
    outChannels,
    kernelHeight: kernel[0],
    kernelWidth: kernel[1],
    strideHeight: stride[0],
    strideWidth: stride[1],
    padTop: vertical.pad,
    padLeft: horizontal.pad,
  };
}

/** The fields of a layer that pools windows of its input. */
export const poolFields = {
  size: integerOrPair,
  strides: v.optional(integerOrPair),
  padding,
};

/** Its window: windows do not overlap unless `strides` says so. */
export const poolWindow = (
  input: Shape,
  { size, strides = size, padding }: Sliding,
  complain: Complain,
): Window =>
  windowOf(input, imageOf(input, [2, 3], complain), "size", { size, strides, padding }, complain);

/** The window that is all of the input, and its one output: [channels]. */
export function wholeOf(input: Shape, complain: Complain) {
  const image = imageOf(input, [2, 3], complain);
  const { height, width, channels } = image;
  const size = input.length === 2 ? width : ([height, width] as const);
  return { window: windowOf(input, image, "size", { size }, complain), output: [channels] };
}

/** Refuses a filter whose patch the convolution kernels cannot hold in their scratch memory. */
export function checkPatch(window: Window, complain: Complain): void {
  const patch = window.kernelHeight * window.kernelWidth * window.inChannels;
  if (patch > MAX_PATCH)
    complain(
      "kernelSize",
      `at most ${MAX_PATCH} numbers under the filter (height x width x channels)`,
      String(patch),
    );
}

/** The shape of the window's output, of the same rank as its input. */
export const slid = (input: Shape, { outHeight, outWidth, outChannels }: Window): Shape =>
  input.length === 2 ? [outWidth, outChannels] : [outHeight, outWidth, outChannels];
