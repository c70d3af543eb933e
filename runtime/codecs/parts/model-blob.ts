import { ModelError } from "../../errors.js";
import { layoutOf, type Layout } from "../../tensors/layout.js";
import { readSafetensors, writeSafetensors, type Tensor } from "../../tensors/safetensors.js";
import { fromHalves, toHalves } from "./half.js";

const EXPONENT = "exponent/";
const layoutAs = ({ name, shape }: Tensor): Layout => layoutOf([{ name, shape }]);

/**
 * A model's blob in half the bytes: the same tensors as halves, and before them the exponents of
 * each vector's parameters. The vectors are the model and what is broadcast beside it, in order.
 * @param running how many tensors of running values stand behind them
 */
export function halfModel(
  blob: Uint8Array,
  vectors: readonly string[],
  running = 0,
): Uint8Array<ArrayBuffer> {
  const { tensors, metadata } = readSafetensors(blob);
  const count = (tensors.size - running) / vectors.length;
  const exponents = new Int16Array(tensors.size);
  const halved = [...tensors.values()].map((tensor, i): Tensor => {
    const { name, shape, data } = tensor;
    const halves = new Uint16Array(data.length);
    toHalves(layoutAs(tensor), data as Float32Array, exponents.subarray(i, i + 1), halves);
    return { name, shape, data: halves };
  });
  const heads = vectors.map((vector, i): Tensor => ({
    name: EXPONENT + vector,
    shape: [count],
    data: exponents.subarray(i * count, (i + 1) * count),
  }));
  if (running > 0)
    heads.push({
      name: `${EXPONENT}statistics`,
      shape: [running],
      data: exponents.subarray(tensors.size - running),
    });
  return writeSafetensors([...heads, ...halved], metadata);
}

/**
 * The blob in float32 that a blob of halves stands for; any other as it is.
 * @throws ModelError `safetensors`, `layout` where its tensors are not those of such a blob.
 */
export function wholeModel(blob: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const { tensors, metadata } = readSafetensors(blob);
  if (!tensors.has(`${EXPONENT}model`)) return blob;
  const all = [...tensors.values()];
  const exponents = all
    .filter(({ name, data }) => name.startsWith(EXPONENT) && data instanceof Int16Array)
    .flatMap(({ data }) => [...data]);
  const halved = all.filter(({ data }) => data instanceof Uint16Array);
  if (exponents.length !== halved.length)
    throw new ModelError(
      "layout",
      `"exponent" expected a number for each of ${halved.length} tensors, got ${exponents.length}`,
    );
  const whole = halved.map((tensor, i): Tensor => ({
    ...tensor,
    data: fromHalves(layoutAs(tensor), Int16Array.of(exponents[i]), tensor.data as Uint16Array),
  }));
  return writeSafetensors(whole, metadata);
}
