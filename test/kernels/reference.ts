/**
 * The kernels once more, slow and plain, in float64: what the fast ones are compared with. Layouts
 * as in runtime/wasm/kernels.ts.
 */
type Values = ArrayLike<number>;

/** C = op(A) op(B), dense m x n. */
export function gemm(
  transposeA: number,
  transposeB: number,
  m: number,
  n: number,
  k: number,
  a: Values,
  lda: number,
  b: Values,
  ldb: number,
): Float64Array {
  const c = new Float64Array(m * n);
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++)
      for (let p = 0; p < k; p++)
        c[i * n + j] +=
          (transposeA ? a[p * lda + i] : a[i * lda + p]) *
          (transposeB ? b[j * ldb + p] : b[p * ldb + j]);
  return c;
}

/** The geometry of a convolution or of pooling. */
export interface Windows {
  readonly batch: number;
  readonly inHeight: number;
  readonly inWidth: number;
  readonly inChannels: number;
  readonly outHeight: number;
  readonly outWidth: number;
  readonly kernelHeight: number;
  readonly kernelWidth: number;
  readonly strideHeight: number;
  readonly strideWidth: number;
  readonly padTop: number;
  readonly padLeft: number;
}

/** Output size and padding of "valid" and "same" as TensorFlow defines them. */
export function windows(
  batch: number,
  [inHeight, inWidth, inChannels]: readonly [number, number, number],
  [kernelHeight, kernelWidth]: readonly [number, number],
  [strideHeight, strideWidth]: readonly [number, number],
  padding: "valid" | "same",
): Windows {
  const along = (size: number, kernel: number, stride: number) => {
    if (padding === "valid") return { out: Math.ceil((size - kernel + 1) / stride), pad: 0 };
    const out = Math.ceil(size / stride);
    const all = Math.max(0, (out - 1) * stride + kernel - size);
    return { out, pad: Math.floor(all / 2) };
  };
  const vertical = along(inHeight, kernelHeight, strideHeight);
  const horizontal = along(inWidth, kernelWidth, strideWidth);
  return {
    batch,
    inHeight,
    inWidth,
    inChannels,
    outHeight: vertical.out,
    outWidth: horizontal.out,
    kernelHeight,
    kernelWidth,
    strideHeight,
    strideWidth,
    padTop: vertical.pad,
    padLeft: horizontal.pad,
  };
}

/**
 * Calls `visit` for every output pixel and every tap of its window inside the image, with the
 * indices of pixels and tap.
 */
function eachTap(g: Windows, visit: (input: number, output: number, tap: number) => void): void {
  for (let b = 0; b < g.batch; b++)
    for (let oy = 0; oy < g.outHeight; oy++)
      for (let ox = 0; ox < g.outWidth; ox++)
        for (let ky = 0; ky < g.kernelHeight; ky++)
          for (let kx = 0; kx < g.kernelWidth; kx++) {
            const iy = oy * g.strideHeight + ky - g.padTop;
            const ix = ox * g.strideWidth + kx - g.padLeft;
            if (iy < 0 || iy >= g.inHeight || ix < 0 || ix >= g.inWidth) continue;
            visit(
              (b * g.inHeight + iy) * g.inWidth + ix,
              (b * g.outHeight + oy) * g.outWidth + ox,
              ky * g.kernelWidth + kx,
            );
          }
}

export const inputSize = (g: Windows) => g.batch * g.inHeight * g.inWidth * g.inChannels;
export const outputPixels = (g: Windows) => g.batch * g.outHeight * g.outWidth;
export const taps = (g: Windows) => g.kernelHeight * g.kernelWidth;

/** Calls `visit` with the indices of x, y and w of every product of a convolution. */
function eachProduct(
  g: Windows,
  outChannels: number,
  visit: (x: number, y: number, w: number) => void,
): void {
  eachTap(g, (input, output, tap) => {
    for (let c = 0; c < g.inChannels; c++)
      for (let o = 0; o < outChannels; o++)
        visit(
          input * g.inChannels + c,
          output * outChannels + o,
          (tap * g.inChannels + c) * outChannels + o,
        );
  });
}

/** The same for a depthwise convolution. */
function eachDepthwiseProduct(
  g: Windows,
  multiplier: number,
  visit: (x: number, y: number, w: number) => void,
): void {
  eachTap(g, (input, output, tap) => {
    for (let c = 0; c < g.inChannels; c++)
      for (let q = 0; q < multiplier; q++)
        visit(
          input * g.inChannels + c,
          (output * g.inChannels + c) * multiplier + q,
          (tap * g.inChannels + c) * multiplier + q,
        );
  });
}

/** A convolution and its two gradients, which visit the same products. */
function bilinear(
  each: (g: Windows, channels: number, visit: (x: number, y: number, w: number) => void) => void,
  sizes: (g: Windows, channels: number) => { y: number; w: number },
) {
  return {
    forward(g: Windows, channels: number, x: Values, w: Values): Float64Array {
      const y = new Float64Array(sizes(g, channels).y);
      each(g, channels, (i, o, f) => (y[o] += x[i] * w[f]));
      return y;
    },
    backpropInput(g: Windows, channels: number, dy: Values, w: Values): Float64Array {
      const dx = new Float64Array(inputSize(g));
      each(g, channels, (i, o, f) => (dx[i] += dy[o] * w[f]));
      return dx;
    },
    backpropFilter(g: Windows, channels: number, x: Values, dy: Values): Float64Array {
      const dw = new Float64Array(sizes(g, channels).w);
      each(g, channels, (i, o, f) => (dw[f] += x[i] * dy[o]));
      return dw;
    },
  };
}

/** `channels` is outChannels. */
export const conv2d = bilinear(eachProduct, (g, channels) => ({
  y: outputPixels(g) * channels,
  w: taps(g) * g.inChannels * channels,
}));

/** `channels` is the multiplier. */
export const depthwise = bilinear(eachDepthwiseProduct, (g, channels) => ({
  y: outputPixels(g) * g.inChannels * channels,
  w: taps(g) * g.inChannels * channels,
}));

export function maxPool(g: Windows, x: Values): { y: Float64Array; argmax: Int32Array } {
  const size = outputPixels(g) * g.inChannels;
  const y = new Float64Array(size).fill(-Infinity);
  const argmax = new Int32Array(size);
  eachTap(g, (input, output) => {
    for (let c = 0; c < g.inChannels; c++) {
      const from = input * g.inChannels + c;
      const to = output * g.inChannels + c;
      if (x[from] > y[to]) {
        y[to] = x[from];
        argmax[to] = from;
      }
    }
  });
  return { y, argmax };
}

/** How many taps of each output's window lie inside the image. */
function tapsInside(g: Windows): Float64Array {
  const count = new Float64Array(outputPixels(g));
  eachTap(g, (_, output) => count[output]++);
  return count;
}

export function avgPool(g: Windows, x: Values): Float64Array {
  const count = tapsInside(g);
  const y = new Float64Array(outputPixels(g) * g.inChannels);
  eachTap(g, (input, output) => {
    for (let c = 0; c < g.inChannels; c++)
      y[output * g.inChannels + c] += x[input * g.inChannels + c] / count[output];
  });
  return y;
}

export function avgPoolBackprop(g: Windows, dy: Values): Float64Array {
  const count = tapsInside(g);
  const dx = new Float64Array(inputSize(g));
  eachTap(g, (input, output) => {
    for (let c = 0; c < g.inChannels; c++)
      dx[input * g.inChannels + c] += dy[output * g.inChannels + c] / count[output];
  });
  return dx;
}

/** GroupNorm without ReLU; the normalised values as well, which the gradient needs. */
export function groupNorm(
  x: Values,
  gamma: Values,
  beta: Values,
  [batch, positions, channels, groups]: readonly [number, number, number, number],
  epsilon: number,
) {
  const width = channels / groups;
  const y = new Float64Array(batch * positions * channels);
  const normal = new Float64Array(y.length);
  const mean = new Float64Array(batch * groups);
  const inverseDeviation = new Float64Array(batch * groups);
  for (let b = 0; b < batch; b++)
    for (let g = 0; g < groups; g++) {
      const members: number[] = [];
      for (let p = 0; p < positions; p++)
        for (let c = g * width; c < (g + 1) * width; c++)
          members.push((b * positions + p) * channels + c);
      const average = members.reduce((sum, i) => sum + x[i], 0) / members.length;
      const variance = members.reduce((sum, i) => sum + (x[i] - average) ** 2, 0) / members.length;
      const inverse = 1 / Math.sqrt(variance + epsilon);
      mean[b * groups + g] = average;
      inverseDeviation[b * groups + g] = inverse;
      for (const i of members) {
        normal[i] = (x[i] - average) * inverse;
        y[i] = gamma[i % channels] * normal[i] + beta[i % channels];
      }
    }
  return { y, normal, mean, inverseDeviation };
}

export function softmaxCrossEntropy(logits: Values, labels: Values, classes: number) {
  const batch = labels.length;
  const probabilities = new Float64Array(batch * classes);
  let loss = 0;
  for (let b = 0; b < batch; b++) {
    const row = Array.from({ length: classes }, (_, j) => logits[b * classes + j]);
    const largest = Math.max(...row);
    const sum = row.reduce((total, z) => total + Math.exp(z - largest), 0);
    row.forEach((z, j) => (probabilities[b * classes + j] = Math.exp(z - largest) / sum));
    loss += Math.log(sum) + largest - row[labels[b]];
  }
  return { loss, probabilities };
}

export const squaredNorm = (x: Values) => Array.from(x).reduce((sum, v) => sum + v * v, 0);

export const relu = (x: Values) => Float64Array.from(x, (v) => Math.max(v, 0));

/** Central differences of a scalar function of x. */
export function finiteDifferences(
  f: (x: Float64Array) => number,
  x: Values,
  h = 1e-5,
): Float64Array {
  const at = Float64Array.from(x);
  return at.map((value, i) => {
    at[i] = value + h;
    const above = f(at);
    at[i] = value - h;
    const below = f(at);
    at[i] = value;
    return (above - below) / (2 * h);
  });
}

/**
 * Gradients of groupNorm for dy, by the chain rule written out: through the values, the mean and
 * the deviation.
 */
export function groupNormBackprop(
  x: Values,
  gamma: Values,
  beta: Values,
  dy: Values,
  shape: readonly [number, number, number, number],
  epsilon: number,
) {
  const [batch, positions, channels, groups] = shape;
  const { normal, inverseDeviation } = groupNorm(x, gamma, beta, shape, epsilon);
  const width = channels / groups;
  const groupOf = (i: number) =>
    Math.floor(i / (positions * channels)) * groups + Math.floor((i % channels) / width);
  const dgamma = new Float64Array(channels);
  const dbeta = new Float64Array(channels);
  const byMean = new Float64Array(batch * groups);
  const byDeviation = new Float64Array(batch * groups);
  normal.forEach((n, i) => {
    dgamma[i % channels] += dy[i] * n;
    dbeta[i % channels] += dy[i];
    byMean[groupOf(i)] += (gamma[i % channels] * dy[i]) / (positions * width);
    byDeviation[groupOf(i)] += (gamma[i % channels] * dy[i] * n) / (positions * width);
  });
  const dx = normal.map(
    (n, i) =>
      inverseDeviation[groupOf(i)] *
      (gamma[i % channels] * dy[i] - byMean[groupOf(i)] - n * byDeviation[groupOf(i)]),
  );
  return { dx, dgamma, dbeta };
}
