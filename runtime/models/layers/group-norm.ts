import * as v from "valibot";
import { elements } from "../../tensors/shape.js";
import { activationName } from "./activation.js";
import { epsilon, EPSILON, positiveInteger } from "./fields.js";
import { floats, layerKind, type Cells, type Layer, type Run, type Shape } from "./layer.js";

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
    backward({ kernels, batch, discard }, cells) {
      const { x, dy, dx, memory, parameters, gradients } = cells;
      const count = batch * rows;
      const deviation = memory + 4 * count * groups;
      // Where nothing before it learns, dx takes dy's place.
      kernels.groupNormBackprop(
        ...([x, parameters[0], memory, deviation, dy, dx === 0 ? dy : dx] as const),
        ...([
          gradients[0] || discard,
          gradients[1] || discard,
          count,
          positions,
          channels,
          groups,
        ] as const),
      );
    },
    forwardTangent(run, cells) {
      normTangents(rows, positions, channels, groups).forward(run, cells);
    },
    backwardTangent(run, cells) {
      normTangents(rows, positions, channels, groups).backward(run, cells);
    },
  };
}

/**
 * The R-operator through the normalisation, in JavaScript: it is needed for curvature only, beside
 * convolutions that cost far more. A dot marks a tangent, m a mean over the group, s = 1 /
 * deviation:
 *   xhat' = s (x' - m(x') - xhat m(xhat x'))        y' = gamma' xhat + gamma xhat' + beta'
 *   dx = s (d - m(d) - xhat m(d xhat)), d = gamma dy      d' = gamma' dy + gamma dy'      s' = -s^2 m(xhat x')
 *   dx' = s'/s dx + s (d' - m(d') - xhat' m(d xhat) - xhat m(d' xhat + d xhat'))
 */
function normTangents(rows: number, positions: number, channels: number, groups: number) {
  const width = channels / groups;
  const count = positions * width;
  /** A tensor of the layer's shape; one of zeros where there is none. */
  const tensor = (run: Run, address: number) => {
    const size = run.batch * rows * positions * channels;
    return address === 0 ? new Float32Array(size) : floats(run, address, size);
  };

  /** Calls back with each example's and group's s, m(xhat x'), and a walk over its elements. */
  function eachGroup(
    run: Run,
    cells: Cells,
    visit: (
      inverse: number,
      along: number,
      each: (
        element: (index: number, channel: number, xhat: number, xhatTangent: number) => void,
      ) => void,
    ) => void,
  ): void {
    const batch = run.batch * rows;
    const statistics = floats(run, cells.memory, 2 * batch * groups);
    const x = tensor(run, cells.x);
    const xTangent = tensor(run, cells.xTangent);
    for (let b = 0; b < batch; b++)
      for (let g = 0; g < groups; g++) {
        const mean = statistics[b * groups + g];
        const inverse = statistics[(batch + b) * groups + g];
        const walk = (element: (index: number, channel: number, xhat: number) => void) => {
          for (let p = 0; p < positions; p++)
            for (let c = g * width; c < (g + 1) * width; c++) {
              const i = (b * positions + p) * channels + c;
              element(i, c, (x[i] - mean) * inverse);
            }
        };
        let sum = 0;
        let along = 0;
        walk((i, _c, xhat) => {
          sum += xTangent[i];
          along += xhat * xTangent[i];
        });
        visit(inverse, along / count, (element) =>
          walk((i, c, xhat) =>
            element(i, c, xhat, inverse * (xTangent[i] - sum / count - (xhat * along) / count)),
          ),
        );
      }
  }

  return {
    forward(run: Run, cells: Cells): void {
      const yTangent = tensor(run, cells.yTangent);
      const gamma = floats(run, cells.parameters[0], channels);
      const [gammaTangent, betaTangent] = cells.directions.map((at) => floats(run, at, channels));
      eachGroup(run, cells, (_inverse, _along, each) =>
        each((i, c, xhat, xhatTangent) => {
          yTangent[i] = gammaTangent[c] * xhat + gamma[c] * xhatTangent + betaTangent[c];
        }),
      );
    },

    backward(run: Run, cells: Cells): void {
      const dy = tensor(run, cells.dy);
      const dyTangent = tensor(run, cells.dyTangent);
      const dxTangent = tensor(run, cells.dxTangent);
      const gamma = floats(run, cells.parameters[0], channels);
      const gammaTangent = floats(run, cells.directions[0], channels);
      const products = new Float64Array(2 * channels);
      eachGroup(run, cells, (inverse, along, each) => {
        let d = 0;
        let dXhat = 0;
        let dTangent = 0;
        let dXhatTangent = 0;
        each((i, c, xhat, xhatTangent) => {
          const di = gamma[c] * dy[i];
          const diTangent = gammaTangent[c] * dy[i] + gamma[c] * dyTangent[i];
          d += di;
          dXhat += di * xhat;
          dTangent += diTangent;
          dXhatTangent += diTangent * xhat + di * xhatTangent;
          products[c] += dyTangent[i] * xhat + dy[i] * xhatTangent;
          products[channels + c] += dyTangent[i];
        });
        each((i, c, xhat, xhatTangent) => {
          const di = gamma[c] * dy[i];
          const diTangent = gammaTangent[c] * dy[i] + gamma[c] * dyTangent[i];
          const dx = inverse * (di - d / count - (xhat * dXhat) / count);
          const rest = diTangent - (dTangent + xhatTangent * dXhat + xhat * dXhatTangent) / count;
          dxTangent[i] = inverse * (rest - along * dx);
        });
      });
      cells.products.forEach((at, i) =>
        floats(run, at, channels).set(products.subarray(i * channels, (i + 1) * channels)),
      );
    },
  };
}
