import { ACTIVATIONS } from "../../runtime/models/layers/activations.js";
import type { LayerDescription, ModelDescription } from "../../runtime/models/description.js";
import type { Random } from "../../runtime/tensors/random.js";

// The description language once more, as docs/models.md words it: slow, in float64, without kernels
// and without gradients. What a plan computes is held against it; gradients and products with the
// Hessian are its differences.

/** Numbers of one example under a shape. */
export interface Tensor {
  readonly shape: readonly number[];
  readonly data: readonly number[];
}

/** The parameters of a layer by their names. */
type Weights = (name: string) => ArrayLike<number>;

const count = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
const sequence = <T>(length: number, of: (i: number) => T): T[] =>
  Array.from({ length }, (_, i) => of(i));
const pair = (value: unknown, rank: number): [number, number] =>
  typeof value === "number"
    ? [rank === 3 ? value : 1, value]
    : ((value ?? [1, 1]) as [number, number]);

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
/** erf by its power series, to the last digit for the sizes that stand here. */
function erf(x: number): number {
  let term = x;
  let sum = x;
  for (let n = 1; n < 120; n++) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}

const FUNCTIONS: Record<keyof typeof ACTIVATIONS, (x: number) => number> = {
  relu: (x) => (x > 0 ? x : 0),
  relu6: (x) => Math.min(Math.max(x, 0), 6),
  leakyRelu: (x) => (x > 0 ? x : 0.01 * x),
  tanh: (x) => Math.tanh(x),
  sigmoid,
  elu: (x) => (x > 0 ? x : Math.exp(x) - 1),
  hardSigmoid: (x) => Math.min(Math.max(x / 6 + 0.5, 0), 1),
  hardSigmoid5: (x) => Math.min(Math.max(x / 5 + 0.5, 0), 1),
  hardSwish: (x) => x * Math.min(Math.max(x / 6 + 0.5, 0), 1),
  silu: (x) => x * sigmoid(x),
  gelu: (x) => (x * (1 + erf(x / Math.SQRT2))) / 2,
};

/** [height, width, channels]; a sequence is an image of height 1. */
const image = ({ shape, data }: Tensor) => {
  const [height, width, channels] = shape.length === 2 ? [1, ...shape] : shape;
  const at = (y: number, x: number, c: number) =>
    y < 0 || x < 0 || y >= height || x >= width ? undefined : data[(y * width + x) * channels + c];
  return { height, width, channels, at };
};

/** Outputs of one axis, and the places before its first. */
function axis(n: number, k: number, s: number, padding: unknown, which: number): [number, number] {
  if (padding === "same") {
    const outputs = Math.ceil(n / s);
    return [outputs, Math.floor(Math.max((outputs - 1) * s + k - n, 0) / 2)];
  }
  const [before, after] = Array.isArray(padding) ? padding[which] : [0, 0];
  return [Math.floor((n + before + after - k) / s) + 1, before];
}

/** A value for each place and output channel, from what lies in the place's window. */
function slide(
  input: Tensor,
  { size, strides, padding }: { size: unknown; strides: unknown; padding: unknown },
  channels: number,
  value: (
    channel: number,
    inside: (visit: (y: number, x: number, at: (c: number) => number | undefined) => void) => void,
  ) => number,
): Tensor {
  const rank = input.shape.length;
  const { height, width, at } = image(input);
  const [kh, kw] = pair(size, rank);
  const [sh, sw] = pair(strides ?? 1, rank);
  const [rows, top] = axis(height, kh, sh, padding, 0);
  const [columns, left] = axis(width, kw, sw, padding, 1);
  const data: number[] = [];
  for (let r = 0; r < rows; r++)
    for (let q = 0; q < columns; q++)
      for (let f = 0; f < channels; f++)
        data.push(
          value(f, (visit) => {
            for (let i = 0; i < kh; i++)
              for (let j = 0; j < kw; j++)
                visit(i, j, (c) => at(r * sh + i - top, q * sw + j - left, c));
          }),
        );
  return { shape: rank === 2 ? [columns, channels] : [rows, columns, channels], data };
}

function convolution(layer: any, input: Tensor, w: Weights): Tensor {
  const channels = input.shape[input.shape.length - 1];
  const [, kw] = pair(layer.kernelSize, input.shape.length);
  const { kernelSize: size, strides, padding } = layer;
  const depthwise = layer.type === "depthwiseConv2d";
  const multiplier = layer.multiplier ?? 1;
  const filters = depthwise ? channels * multiplier : layer.filters;
  return slide(input, { size, strides, padding }, filters, (f, inside) => {
    let sum = w("bias")[f];
    inside((i, j, at) => {
      const spot = i * kw + j;
      if (depthwise) sum += (at(Math.floor(f / multiplier)) ?? 0) * w("kernel")[spot * filters + f];
      else
        for (let c = 0; c < channels; c++)
          sum += (at(c) ?? 0) * w("kernel")[(spot * channels + c) * filters + f];
    });
    return sum;
  });
}

function transposed(layer: any, input: Tensor, w: Weights): Tensor {
  const rank = input.shape.length;
  const { height, width, channels, at } = image(input);
  const [kh, kw] = pair(layer.kernelSize, rank);
  const [sh, sw] = pair(layer.strides ?? 1, rank);
  const { filters } = layer;
  const same = layer.padding === "same";
  const grown = (n: number, k: number, s: number) =>
    same ? [n * s, Math.floor(Math.max(k - s, 0) / 2)] : [(n - 1) * s + k, 0];
  const [rows, top] = grown(height, kh, sh);
  const [columns, left] = grown(width, kw, sw);
  const data = sequence(rows * columns * filters, (i) => w("bias")[i % filters]);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let i = 0; i < kh; i++)
        for (let j = 0; j < kw; j++) {
          const [r, q] = [y * sh + i - top, x * sw + j - left];
          if (r < 0 || q < 0 || r >= rows || q >= columns) continue;
          for (let f = 0; f < filters; f++)
            for (let c = 0; c < channels; c++)
              data[(r * columns + q) * filters + f] +=
                at(y, x, c)! * w("kernel")[((i * kw + j) * filters + f) * channels + c];
        }
  return { shape: rank === 2 ? [columns, filters] : [rows, columns, filters], data };
}

/** x W + b on the last axis; W has as many columns as b has numbers. */
function dense(
  { shape, data }: Tensor,
  kernel: ArrayLike<number>,
  bias: ArrayLike<number>,
): Tensor {
  const features = shape[shape.length - 1];
  const units = bias.length;
  const rows = data.length / features;
  return {
    shape: [...shape.slice(0, -1), units],
    data: sequence(rows * units, (at) => {
      const [row, u] = [Math.floor(at / units), at % units];
      let sum = bias[u];
      for (let i = 0; i < features; i++) sum += data[row * features + i] * kernel[i * units + u];
      return sum;
    }),
  };
}

/** Mean 0 and deviation 1 over each set of indices, then gamma and beta of the last axis. */
function normalised(
  { shape, data }: Tensor,
  setOf: (at: number) => number,
  epsilon: number,
  w: Weights,
): Tensor {
  const sets = new Map<number, number[]>();
  data.forEach((value, at) => sets.set(setOf(at), [...(sets.get(setOf(at)) ?? []), value]));
  const statistics = new Map(
    [...sets].map(([set, values]) => {
      const mean = values.reduce((a, b) => a + b, 0) / values.length;
      const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length;
      return [set, { mean, deviation: Math.sqrt(variance + epsilon) }] as const;
    }),
  );
  const channels = shape[shape.length - 1];
  return {
    shape,
    data: data.map((value, at) => {
      const { mean, deviation } = statistics.get(setOf(at))!;
      const c = at % channels;
      return (w("gamma")[c] * (value - mean)) / deviation + w("beta")[c];
    }),
  };
}

/** h of all steps of a recurrent layer, each at the place of its input. */
function states(layer: any, { shape, data }: Tensor, w: Weights): number[] {
  const [length, channels] = shape;
  const u: number = layer.units;
  const f = FUNCTIONS[(layer.activation ?? "tanh") as keyof typeof FUNCTIONS];
  const g = FUNCTIONS[(layer.recurrentActivation ?? "sigmoid") as keyof typeof FUNCTIONS];
  const columns = (layer.type === "lstm" ? 4 : 3) * u;
  const all: number[] = [];
  let h = sequence(u, () => 0);
  let c = h;
  const times = (row: readonly number[], kernel: ArrayLike<number>, column: number) =>
    row.reduce((sum, value, i) => sum + value * kernel[i * columns + column], 0);
  for (let step = 0; step < length; step++) {
    const at = layer.reverse ? length - 1 - step : step;
    const x = data.slice(at * channels, (at + 1) * channels);
    const fromX = (column: number) => times(x, w("kernel"), column) + w("bias")[column];
    const fromH = (column: number, row = h) => times(row, w("recurrentKernel"), column);
    const old = h;
    if (layer.type === "lstm") {
      const gate = (block: number, j: number) => fromX(block * u + j) + fromH(block * u + j);
      c = c.map((value, j) => g(gate(1, j)) * value + g(gate(0, j)) * f(gate(2, j)));
      h = old.map((_, j) => g(gate(3, j)) * f(c[j]));
    } else {
      const after = layer.resetAfter ?? true;
      const bias = (column: number) => (after ? w("recurrentBias")[column] : 0);
      const gate = (block: number, j: number) =>
        g(fromX(block * u + j) + fromH(block * u + j) + bias(block * u + j));
      const r = old.map((_, j) => gate(1, j));
      const reset = old.map((value, j) => r[j] * value);
      h = old.map((value, j) => {
        const column = 2 * u + j;
        const inner = after ? r[j] * (fromH(column, old) + bias(column)) : fromH(column, reset);
        const z = gate(0, j);
        return z * value + (1 - z) * f(fromX(column) + inner);
      });
    }
    h.forEach((value, j) => (all[at * u + j] = value));
  }
  return all;
}

function attention(layer: any, input: Tensor, w: Weights): Tensor {
  const [length, channels] = input.shape;
  const { heads } = layer;
  const size = layer.keySize ?? channels / heads;
  const inner = heads * size;
  const { data: qkv } = dense(input, w("kernel"), w("bias"));
  const part = (block: number, t: number, head: number, i: number) =>
    qkv[t * 3 * inner + block * inner + head * size + i];
  const joined = sequence(length * inner, (at) => {
    const [t, head, i] = [Math.floor(at / inner), Math.floor((at % inner) / size), at % size];
    const seen = layer.causal ? t + 1 : length;
    const weights = sequence(seen, (s) =>
      Math.exp(
        sequence(size, (k) => part(0, t, head, k) * part(1, s, head, k)).reduce((a, b) => a + b) /
          Math.sqrt(size),
      ),
    );
    const total = weights.reduce((a, b) => a + b);
    return weights.reduce((sum, weight, s) => sum + (weight / total) * part(2, s, head, i), 0);
  });
  return dense({ shape: [length, inner], data: joined }, w("outputKernel"), w("outputBias"));
}

/** A layer's output before its activation; `chance` is what dropout draws from. */
function output(layer: any, inputs: readonly Tensor[], w: Weights, chance?: Random): Tensor {
  const [input] = inputs;
  const { shape, data } = input;
  const channels = shape[shape.length - 1];
  const type: LayerDescription["type"] = layer.type;
  const over = (of: (values: number[]) => number): Tensor => ({
    shape: [channels],
    data: sequence(channels, (c) => of(data.filter((_, at) => at % channels === c))),
  });
  switch (type) {
    case "dense": {
      const { lora, units } = layer;
      const [kernel, bias] = [w("kernel"), w("bias")];
      if (lora === undefined) return dense(input, kernel, bias);
      const [a, b] = [w("loraA"), w("loraB")];
      const { rank, alpha } = lora;
      // W + alpha/rank A B
      const whole = sequence(channels * units, (at) =>
        sequence(rank, (r) => a[Math.floor(at / units) * rank + r] * b[r * units + (at % units)])
          .map((product) => (alpha / rank) * product)
          .reduce((sum, product) => sum + product, kernel[at]),
      );
      return dense(input, whole, bias);
    }
    case "conv1d":
    case "conv2d":
    case "depthwiseConv2d":
      return convolution(layer, input, w);
    case "conv1dTranspose":
    case "conv2dTranspose":
      return transposed(layer, input, w);
    case "maxPool":
    case "avgPool": {
      const { size, strides = size, padding } = layer;
      return slide(input, { size, strides, padding }, channels, (c, inside) => {
        const values: number[] = [];
        inside((_i, _j, at) => {
          const value = at(c);
          if (value !== undefined) values.push(value);
        });
        return type === "maxPool"
          ? Math.max(...values)
          : values.reduce((a, b) => a + b) / values.length;
      });
    }
    case "globalAvgPool":
      return over((values) => values.reduce((a, b) => a + b) / values.length);
    case "globalMaxPool":
      return over((values) => Math.max(...values));
    case "flatten":
      return { shape: [count(shape)], data };
    case "reshape":
      return { shape: layer.shape, data };
    case "groupNorm": {
      const width = channels / layer.groups;
      const group = (at: number) => Math.floor((at % channels) / width);
      return normalised(input, group, layer.epsilon ?? 1e-5, w);
    }
    case "layerNorm":
      return normalised(input, (at) => Math.floor(at / channels), layer.epsilon ?? 1e-5, w);
    case "batchNorm": {
      // As it predicts: by the running values.
      const { epsilon = 1e-5 } = layer;
      const [gamma, beta, mean, variance] = ["gamma", "beta", "mean", "variance"].map(w);
      return {
        shape,
        data: data.map((value, at) => {
          const c = at % channels;
          return (gamma[c] * (value - mean[c])) / Math.sqrt(variance[c] + epsilon) + beta[c];
        }),
      };
    }
    case "relu":
    case "activation":
      return input;
    case "dropout":
      return {
        shape,
        data: data.map((value) =>
          chance === undefined ? value : chance.next() < layer.rate ? 0 : value / (1 - layer.rate),
        ),
      };
    case "add":
      return { shape, data: data.map((_, at) => inputs.reduce((sum, x) => sum + x.data[at], 0)) };
    case "multiply": {
      const largest = inputs.reduce((a, b) => (b.data.length > a.data.length ? b : a));
      return {
        shape: largest.shape,
        data: largest.data.map((_, at) =>
          inputs.reduce((product, x) => product * x.data[at % x.data.length], 1),
        ),
      };
    }
    case "concat": {
      const rows = count(shape) / channels;
      return {
        shape: [
          ...shape.slice(0, -1),
          inputs.reduce((sum, x) => sum + x.shape[x.shape.length - 1], 0),
        ],
        data: sequence(rows, (row) =>
          inputs.flatMap((x) => {
            const width = x.shape[x.shape.length - 1];
            return x.data.slice(row * width, (row + 1) * width);
          }),
        ).flat(),
      };
    }
    case "upsample": {
      const { height, width, at } = image(input);
      const [down, right] = pair(layer.size, shape.length);
      return {
        shape:
          shape.length === 2 ? [width * right, channels] : [height * down, width * right, channels],
        data: sequence(height * down, (y) =>
          sequence(width * right, (x) =>
            sequence(channels, (c) => at(Math.floor(y / down), Math.floor(x / right), c)!),
          ),
        ).flat(2),
      };
    }
    case "repeat":
      return { shape: [layer.times, channels], data: sequence(layer.times, () => data).flat() };
    case "embedding":
      return {
        shape: [channels, layer.units],
        data: data.flatMap((token) =>
          sequence(layer.units as number, (u) => w("kernel")[token * layer.units + u]),
        ),
      };
    case "positionEmbedding":
      return { shape, data: data.map((value, at) => value + w("kernel")[at]) };
    case "gru":
    case "lstm": {
      const all = states(layer, input, w);
      const [length] = shape;
      const last = layer.reverse ? 0 : length - 1;
      return layer.returnSequences
        ? { shape: [length, layer.units], data: all }
        : { shape: [layer.units], data: all.slice(last * layer.units, (last + 1) * layer.units) };
    }
    case "multiHeadAttention":
      return attention(layer, input, w);
  }
}

/** The outputs of all layers for one example, and of recurrent ones h at all steps. */
export function outputsOf(
  { input, layers }: ModelDescription,
  weights: (name: string) => ArrayLike<number>,
  x: readonly number[],
  chance?: Random,
): { readonly outputs: readonly Tensor[]; readonly tapped: readonly (readonly number[])[] } {
  const named = new Map<string, Tensor>([["input", { shape: input, data: x }]]);
  const outputs: Tensor[] = [];
  const tapped: (readonly number[])[] = [];
  layers.forEach((layer, i) => {
    const inputs = layer.inputs?.map((name) => named.get(name)!) ?? [
      outputs[i - 1] ?? named.get("input")!,
    ];
    const w: Weights = (name) => weights(`${i}.${name}`);
    const recurrent = layer.type === "gru" || layer.type === "lstm";
    const { shape, data } = output(layer, inputs, w, chance);
    const activation =
      layer.type === "relu"
        ? "relu"
        : recurrent
          ? undefined
          : (layer as { activation?: keyof typeof FUNCTIONS }).activation;
    outputs.push({
      shape,
      data: activation === undefined ? data : data.map(FUNCTIONS[activation]),
    });
    tapped.push(recurrent ? states(layer, inputs[0], w) : outputs[i].data);
    if (layer.name !== undefined) named.set(layer.name, outputs[i]);
  });
  return { outputs, tapped };
}

/** The mean loss of a batch: of each example its output, and its classes or numbers. */
export function lossOf(
  { loss = { type: "softmaxCrossEntropy" } }: ModelDescription,
  batch: readonly { readonly output: Tensor; readonly target: readonly number[] }[],
): number {
  let sum = 0;
  let counted = 0;
  for (const { output, target } of batch) {
    const { data, shape } = output;
    const columns = shape[shape.length - 1];
    if (loss.type === "softmaxCrossEntropy") {
      target.forEach((label, row) => {
        if (label === -1) return;
        const z = data.slice(row * columns, (row + 1) * columns);
        const most = Math.max(...z);
        const total = z.reduce((all, value) => all + Math.exp(value - most), 0);
        sum += (loss.classWeights?.[label] ?? 1) * (most + Math.log(total) - z[label]);
        counted++;
      });
      continue;
    }
    data.forEach((value, at) => {
      const t = target[at];
      const d = value - t;
      counted++;
      if (loss.type === "sigmoidCrossEntropy") {
        const weight = loss.positiveWeights?.[at % columns] ?? 1;
        const softplus = (x: number) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
        sum += weight * t * softplus(-value) + (1 - t) * softplus(value);
      } else if (loss.type === "meanSquaredError") sum += d * d;
      else if (loss.type === "meanAbsoluteError") sum += Math.abs(d);
      else {
        const { delta = 1 } = loss;
        sum += Math.abs(d) <= delta ? (d * d) / 2 : delta * (Math.abs(d) - delta / 2);
      }
    });
  }
  return counted === 0 ? 0 : sum / counted;
}
