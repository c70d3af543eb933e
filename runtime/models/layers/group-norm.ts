import * as v from "valibot";
import { elements } from "../../tensors/shape.js";
import { activationName } from "./activation.js";
import { positiveInteger } from "./fields.js";
import { layerKind, type Cells, type Layer, type Run, type Shape } from "./layer.js";

/** As in the paper's set-up, and PyTorch's default. */
const EPSILON = 1e-5;

const epsilon = v.optional(
  v.pipe(
    v.number("a positive number"),
    v.finite("a positive number"),
    v.gtValue(0, "a positive number"),
  ),
);

/**
 * Group normalisation (Wu and He 2018, arXiv:1803.08494): y = gamma xhat + beta, xhat = (x - mean)
 * / deviation, over all positions of `channels / groups` neighbouring channels of one example.
 */
export const groupNorm = layerKind({
  schema: v.strictObject({
    type: v.literal("groupNorm"),
    groups: positiveInteger,
    epsilon,
    activation: v.optional(activationName),
  }),
  takesActivation: true,
  resolve({ groups, epsilon = EPSILON, activation }, [input], complain) {
    const channels = input[input.length - 1];
    if (channels % groups !== 0)
      complain("groups", `a divisor of its input's ${channels} channels`, String(groups));
    return { layer: normLayer(input, 1, groups, epsilon), activation };
  },
});

/**
 * Layer normalisation (Ba et al. 2016, arXiv:1607.06450) over the last axis: each position of an
 * example by itself.
 */
export const layerNorm = layerKind({
  schema: v.strictObject({
    type: v.literal("layerNorm"),
    epsilon,
    activation: v.optional(activationName),
  }),
  takesActivation: true,
  resolve({ epsilon = EPSILON, activation }, [input]) {
    const rows = elements(input) / input[input.length - 1];
    return { layer: normLayer(input, rows, 1, epsilon), activation };
  },
});

/** Normalises each of an example's `rows` rows of positions by itself. */
function normLayer(input: Shape, rows: number, groups: number, epsilon: number): Layer {
  const channels = input[input.length - 1];
  const positions = elements(input) / channels / rows;
  const tangents = normTangents(rows, positions, channels, groups);
  return {
    input,
    output: input,
    parameters: [
      { name: "gamma", shape: [channels], initial: { constant: 1 } },
      { name: "beta", shape: [channels], initial: { constant: 0 } },
    ],
    fusesRelu: true,
    remembers: 2 * rows * groups,
    forward({ kernels, batch }, { x, y, memory, parameters: [gamma, beta] }, relu, norm) {
      const count = batch * rows;
      const deviation = memory + 4 * count * groups;
      return kernels.groupNorm(
        ...([x, gamma, beta, y, memory, deviation] as const),
        ...([count, positions, channels, groups, epsilon] as const),
        Number(relu),
        Number(norm),
      );
    },
    backward({ kernels, batch }, cells) {
      const { x, dy, dx, memory, parameters, gradients } = cells;
      const count = batch * rows;
      const deviation = memory + 4 * count * groups;
      // Where nothing before it learns, dx takes dy's place.
      kernels.groupNormBackprop(
        ...([x, parameters[0], memory, deviation, dy, dx === 0 ? dy : dx] as const),
        ...([gradients[0], gradients[1], count, positions, channels, groups] as const),
      );
    },
    forwardTangent: (run, cells) => tangents.forward(run, cells),
    backwardTangent: (run, cells) => tangents.backward(run, cells),
  };
}

/**
 * The R-operator through the normalisation, in JavaScript: it is needed for curvature only, beside convolutions that cost
 * far more. A dot marks a tangent, m a mean over the group, s = 1 / deviation:
 *   xhat' = s (x' - m(x') - xhat m(xhat x'))        y' = gamma' xhat + gamma xhat' + beta'
 *   dx = s (d - m(d) - xhat m(d xhat)), d = gamma dy      d' = gamma' dy + gamma dy'      s' = -s^2 m(xhat x')
 *   dx' = s'/s dx + s (d' - m(d') - xhat' m(d xhat) - xhat m(d' xhat + d xhat'))
 */
function normTangents(rows: number, positions: number, channels: number, groups: number) {
  const width = channels / groups;
  const count = positions * width;

  /** Calls back with each example's and group's statistics and the indices of its elements. */
  function eachGroup(
    { memory, batch: examples }: Run,
    cells: Cells,
    visit: (group: {
      mean: number;
      inverse: number;
      each(element: (index: number, channel: number) => void): void;
    }) => void,
  ): void {
    const batch = examples * rows;
    const statistics = new Float32Array(memory.buffer, cells.memory, 2 * batch * groups);
    for (let b = 0; b < batch; b++)
      for (let g = 0; g < groups; g++)
        visit({
          mean: statistics[b * groups + g],
          inverse: statistics[(batch + b) * groups + g],
          each(element) {
            for (let p = 0; p < positions; p++)
              for (let c = g * width; c < (g + 1) * width; c++)
                element((b * positions + p) * channels + c, c);
          },
        });
  }

  const size = rows * positions * channels;
  const views = ({ memory, batch }: Run) => ({
    /** A tensor of the layer's shape; one of zeros where there is none. */
    tensor: (address: number) =>
      address === 0
        ? new Float32Array(batch * size)
        : new Float32Array(memory.buffer, address, batch * size),
    vector: (address: number) => new Float32Array(memory.buffer, address, channels),
  });

  return {
    forward(run: Run, cells: Cells): void {
      const { tensor, vector } = views(run);
      const x = tensor(cells.x);
      const xTangent = tensor(cells.xTangent);
      const yTangent = tensor(cells.yTangent);
      const gamma = vector(cells.parameters[0]);
      const [gammaTangent, betaTangent] = cells.directions.map(vector);
      eachGroup(run, cells, ({ mean, inverse, each }) => {
        let sum = 0;
        let along = 0;
        each((i) => {
          sum += xTangent[i];
          along += (x[i] - mean) * inverse * xTangent[i];
        });
        each((i, c) => {
          const xhat = (x[i] - mean) * inverse;
          const xhatTangent = inverse * (xTangent[i] - sum / count - (xhat * along) / count);
          yTangent[i] = gammaTangent[c] * xhat + gamma[c] * xhatTangent + betaTangent[c];
        });
      });
    },

    backward(run: Run, cells: Cells): void {
      const { tensor, vector } = views(run);
      const x = tensor(cells.x);
      const xTangent = tensor(cells.xTangent);
      const dy = tensor(cells.dy);
      const dyTangent = tensor(cells.dyTangent);
      const dxTangent = tensor(cells.dxTangent);
      const gamma = vector(cells.parameters[0]);
      const gammaTangent = vector(cells.directions[0]);
      const [gammaProduct, betaProduct] = cells.products.map(vector);
      const products = new Float64Array(2 * channels);
      eachGroup(run, cells, ({ mean, inverse, each }) => {
        let sum = 0;
        let along = 0;
        each((i) => {
          sum += xTangent[i];
          along += (x[i] - mean) * inverse * xTangent[i];
        });
        const at = (i: number) => {
          const xhat = (x[i] - mean) * inverse;
          return {
            xhat,
            xhatTangent: inverse * (xTangent[i] - sum / count - (xhat * along) / count),
          };
        };
        let d = 0;
        let dXhat = 0;
        let dTangent = 0;
        let dXhatTangent = 0;
        each((i, c) => {
          const { xhat, xhatTangent } = at(i);
          const di = gamma[c] * dy[i];
          const diTangent = gammaTangent[c] * dy[i] + gamma[c] * dyTangent[i];
          d += di;
          dXhat += di * xhat;
          dTangent += diTangent;
          dXhatTangent += diTangent * xhat + di * xhatTangent;
          products[c] += dyTangent[i] * xhat + dy[i] * xhatTangent;
          products[channels + c] += dyTangent[i];
        });
        each((i, c) => {
          const { xhat, xhatTangent } = at(i);
          const di = gamma[c] * dy[i];
          const diTangent = gammaTangent[c] * dy[i] + gamma[c] * dyTangent[i];
          const dx = inverse * (di - d / count - (xhat * dXhat) / count);
          dxTangent[i] =
            ((-inverse * along) / count) * dx +
            inverse *
              (diTangent -
                dTangent / count -
                (xhatTangent * dXhat) / count -
                (xhat * dXhatTangent) / count);
        });
      });
      gammaProduct.set(products.subarray(0, channels));
      betaProduct.set(products.subarray(channels));
    },
  };
}
