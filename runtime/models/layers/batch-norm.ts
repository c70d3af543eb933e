import * as v from "valibot";
import { elements } from "../../tensors/shape.js";
import { activationName } from "./activation.js";
import { belowOne, epsilon, EPSILON } from "./fields.js";
import { floats, layerKind, type Cells, type Layer, type Run, type Shape } from "./layer.js";

/** Keeps the vectors of a pass, five of them, within the scratch memory. */
const MAX_CHANNELS = 2 ** 17;

/** Of the running mean and variance. */
const running = { learns: false, statistic: true } as const;

/**
 * Batch normalisation (Ioffe and Szegedy 2015, arXiv:1502.03167): y = gamma xhat + beta, xhat = (x -
 * mean) / deviation of each channel over all positions of a batch; where the batch's own statistics
 * are not asked for, with the running ones.
 */
export const batchNorm = layerKind({
  schema: v.strictObject({
    type: v.literal("batchNorm"),
    epsilon,
    momentum: v.optional(belowOne),
    activation: v.optional(activationName),
  }),
  takesActivation: true,
  resolve({ epsilon = EPSILON, momentum = 0.9, activation, frozen = false }, [input], complain) {
    const channels = input[input.length - 1];
    if (channels > MAX_CHANNELS)
      complain("input", `at most ${MAX_CHANNELS} channels`, String(channels));
    return { layer: batchNormLayer(input, epsilon, momentum, frozen), activation };
  },
});

function batchNormLayer(input: Shape, epsilon: number, momentum: number, frozen: boolean): Layer {
  const channels = input[input.length - 1];
  const positions = elements(input) / channels;
  const shape = [channels];
  const { vector, kept, spare, filled, scaleOf } = vectorsOf(channels);
  /** The batch is normalised by its own mean and variance: one number has none. */
  const byBatch = ({ batch, statistics }: Run) =>
    statistics !== "running" && !frozen && batch * positions > 1;

  function measure(run: Run, cells: Cells): void {
    const { x, parameters } = cells;
    const [center, inverse] = kept(cells);
    const [centers, inverses] = [vector(run, center), vector(run, inverse)];
    const [means, variances] = [vector(run, parameters[2]), vector(run, parameters[3])];
    if (!byBatch(run)) {
      centers.set(means);
      for (let c = 0; c < channels; c++) inverses[c] = 1 / Math.sqrt(variances[c] + epsilon);
      return;
    }
    const rows = run.batch * positions;
    run.kernels.sumRows(x, center, rows, channels);
    for (let c = 0; c < channels; c++) centers[c] /= rows;
    run.kernels.sumColumnProducts(x, center, 0, inverse, rows, channels);
    for (let c = 0; c < channels; c++) {
      const squares = inverses[c];
      inverses[c] = 1 / Math.sqrt(squares / rows + epsilon);
      if (run.statistics !== "learned") continue;
      means[c] = momentum * means[c] + (1 - momentum) * centers[c];
      variances[c] = momentum * variances[c] + ((1 - momentum) * squares) / (rows - 1);
    }
  }

  return {
    input,
    output: input,
    parameters: [
      { name: "gamma", shape, initial: { constant: 1 } },
      { name: "beta", shape, initial: { constant: 0 } },
      { name: "mean", shape, initial: { constant: 0 }, ...running },
      { name: "variance", shape, initial: { constant: 1 }, ...running },
    ],
    fusesRelu: true,
    remembers: 2 * channels,
    forward(run, cells, relu, norm) {
      const { kernels, batch } = run;
      const { x, y, parameters } = cells;
      const [gamma, beta] = parameters;
      const rows = batch * positions;
      measure(run, cells);
      const [center] = kept(cells);
      const scale = scaleOf(run, cells, 0, gamma);
      kernels.scaleColumns(x, center, scale, beta, y, rows, channels, Number(relu));
      return norm ? kernels.squaredNorm(y, rows * channels) : 0;
    },
    // With n = rows: dx = scale dy, and where mean and variance are the batch's own
    // - scale (dbeta + xhat dgamma) / n.
    backward(run, cells) {
      const { kernels, batch } = run;
      const { x, dy, dx, parameters, gradients } = cells;
      const rows = batch * positions;
      const [center, inverse] = kept(cells);
      const [dgamma, dbeta] = [gradients[0] || spare(run, 0), gradients[1] || spare(run, 1)];
      kernels.sumColumnProducts(x, center, dy, dgamma, rows, channels);
      kernels.multiply(dgamma, dgamma, inverse, channels);
      kernels.sumRows(dy, dbeta, rows, channels);
      if (dx === 0) return;
      const scale = scaleOf(run, cells, 2, parameters[0]);
      const share = byBatch(run) ? -1 / rows : 0;
      const [scales, inverses] = [vector(run, scale), vector(run, inverse)];
      const [alongs, sums] = [vector(run, dgamma), vector(run, dbeta)];
      const tilt = filled(run, 3, (c) => share * scales[c] * inverses[c] * alongs[c]);
      const shift = filled(run, 4, (c) => share * scales[c] * sums[c]);
      kernels.scaleColumnsBackprop(dy, scale, x, center, tilt, shift, dx, rows, channels);
    },
    forwardTangent(run, cells) {
      batchNormTangents(positions, channels).forward(run, cells);
    },
    backwardTangent(run, cells) {
      batchNormTangents(positions, channels).backward(run, cells);
    },
  };
}

/** Vectors of one number for each channel, in memory. */
function vectorsOf(channels: number) {
  const vector = (run: Run, address: number) => floats(run, address, channels);
  /** What was subtracted from the batch, and what it was multiplied by. */
  const kept = ({ memory }: Cells) => [memory, memory + 4 * channels] as const;
  /** A vector in the scratch memory. */
  const spare = ({ scratch }: Run, place: number) => scratch + 4 * channels * place;

  /** Fills a spare vector, channel by channel. */
  function filled(run: Run, place: number, value: (channel: number) => number): number {
    const address = spare(run, place);
    const all = vector(run, address);
    for (let c = 0; c < channels; c++) all[c] = value(c);
    return address;
  }

  /** Of gamma, or of its direction: what a number less the mean is multiplied by. */
  function scaleOf(run: Run, cells: Cells, place: number, gamma: number): number {
    const [gammas, inverses] = [vector(run, gamma), vector(run, kept(cells)[1])];
    return filled(run, place, (c) => gammas[c] * inverses[c]);
  }

  return { vector, kept, spare, filled, scaleOf };
}

/** Curvature is that of the model as it predicts: mean and variance are constants. */
function batchNormTangents(positions: number, channels: number) {
  const { kept, spare, filled, scaleOf } = vectorsOf(channels);
  return {
    forward(run: Run, cells: Cells): void {
      const { kernels, batch } = run;
      const { x, xTangent, yTangent, parameters, directions } = cells;
      const rows = batch * positions;
      const [center] = kept(cells);
      const tilt = scaleOf(run, cells, 0, directions[0]);
      const scale = scaleOf(run, cells, 1, parameters[0]);
      if (xTangent === 0)
        kernels.scaleColumns(x, center, tilt, directions[1], yTangent, rows, channels, 0);
      else
        kernels.scaleColumnsBackprop(
          ...([xTangent, scale, x, center, tilt, directions[1], yTangent] as const),
          ...([rows, channels] as const),
        );
    },
    backward(run: Run, cells: Cells): void {
      const { kernels, batch } = run;
      const { x, xTangent, dy, dyTangent, dxTangent, parameters, directions, products } = cells;
      const rows = batch * positions;
      const [center, inverse] = kept(cells);
      const zeros = filled(run, 0, () => 0);
      const [along, sums] = products;
      kernels.sumColumnProducts(x, center, dyTangent, along, rows, channels);
      if (xTangent !== 0) {
        const other = spare(run, 1);
        kernels.sumColumnProducts(xTangent, zeros, dy, other, rows, channels);
        kernels.axpy(along, other, channels, 1);
      }
      kernels.multiply(along, along, inverse, channels);
      kernels.sumRows(dyTangent, sums, rows, channels);
      if (dxTangent === 0) return;
      const tilt = scaleOf(run, cells, 1, directions[0]);
      const scale = scaleOf(run, cells, 2, parameters[0]);
      kernels.scaleColumnsBackprop(
        ...([dyTangent, scale, dy, zeros, tilt, zeros, dxTangent] as const),
        ...([rows, channels] as const),
      );
    },
  };
}
