import * as v from "valibot";
import { ACCUMULATE, TRANSPOSE_A, TRANSPOSE_B } from "../../wasm/kernels.js";
import { positiveInteger } from "./fields.js";
import { floats, layerKind, type Cells, type Layer, type Run } from "./layer.js";
import { product, regions, sequenceOf, wordsOf, type Matrix } from "./recurrent.js";

/**
 * Multi-head self-attention (Vaswani et al. 2017, arXiv:1706.03762): for each head softmax(q k^T /
 * sqrt(keySize)) v, then x Wo + bo. With `causal` a position sees itself and those before it.
 */
export const multiHeadAttention = layerKind({
  schema: v.strictObject({
    type: v.literal("multiHeadAttention"),
    heads: positiveInteger,
    keySize: v.optional(positiveInteger),
    causal: v.optional(v.boolean("true or false")),
  }),
  takesActivation: false,
  resolve({ heads, keySize, causal = false }, [input], complain) {
    const [length, channels] = sequenceOf(input, complain);
    if (keySize === undefined && channels % heads !== 0)
      complain("heads", `a divisor of its input's ${channels} channels`, String(heads));
    return { layer: attention(length, channels, heads, keySize ?? channels / heads, causal) };
  },
});

function attention(
  length: number,
  channels: number,
  heads: number,
  keySize: number,
  causal: boolean,
): Layer {
  const inner = heads * keySize;
  const width = 3 * inner;
  const scale = 1 / Math.sqrt(keySize);
  const squares = heads * length * length;
  const words = {
    qkv: width * length,
    weights: squares,
    heads: inner * length,
    dHeads: inner * length,
    dWeights: squares,
    dQkv: width * length,
  };
  /** Tangents of the same, and of their gradients. */
  const tangentWords = {
    qkv: width * length,
    weights: squares,
    heads: inner * length,
    dHeads: inner * length,
    dWeights: squares,
    dScores: squares,
    dQkv: width * length,
  };
  const kept = ({ batch }: Run, { memory }: Cells) => regions(memory, batch, words);
  const tangents = ({ batch }: Run, { tangentMemory }: Cells) =>
    regions(tangentMemory, batch, tangentWords);
  /** Calls back for each example's heads with where their matrices lie in tensors like these. */
  const eachHead = (
    { batch }: Run,
    visit: (at: {
      q(qkv: number): Matrix;
      k(qkv: number): Matrix;
      v(qkv: number): Matrix;
      square(weights: number): Matrix;
      head(heads: number): Matrix;
    }) => void,
  ) => {
    for (let b = 0; b < batch; b++)
      for (let h = 0; h < heads; h++) {
        const part =
          (block: number) =>
          (qkv: number): Matrix => [
            qkv + 4 * (b * length * width + block * inner + h * keySize),
            width,
          ];
        visit({
          q: part(0),
          k: part(1),
          v: part(2),
          square: (weights) => [weights + 4 * (b * heads + h) * length * length, length],
          head: (address) => [address + 4 * (b * length * inner + h * keySize), inner],
        });
      }
  };
  const scores = [length, length, keySize] as const;
  const values = [length, keySize, length] as const;
  const initial = { fanIn: channels };
  const outer = { fanIn: inner };
  return {
    input: [length, channels],
    output: [length, channels],
    parameters: [
      { name: "kernel", shape: [channels, width], initial },
      { name: "bias", shape: [width], initial },
      { name: "outputKernel", shape: [inner, channels], initial: outer },
      { name: "outputBias", shape: [channels], initial: outer },
    ],
    bias: 3,
    remembers: wordsOf(words),
    remembersTangents: wordsOf(tangentWords),

    forward(run, cells) {
      const { kernels, batch } = run;
      const { x, y, parameters } = cells;
      const [w, bias, wo, bo] = parameters;
      const { qkv, weights, heads: out } = kept(run, cells);
      const rows = batch * length;
      product(run, 0, [rows, width, channels], [x, channels], [w, width], [qkv, width], bias);
      eachHead(run, ({ q, k, square }) =>
        product(run, TRANSPOSE_B, scores, q(qkv), k(qkv), square(weights)),
      );
      kernels.softmaxRows(weights, batch * heads * length, length, scale, Number(causal));
      eachHead(run, ({ v, square, head }) =>
        product(run, 0, values, square(weights), v(qkv), head(out)),
      );
      product(run, 0, [rows, channels, inner], [out, inner], [wo, channels], [y, channels], bo);
      return 0;
    },

    backward(run, cells) {
      const { kernels, batch } = run;
      const { x, dy, dx, parameters, gradients } = cells;
      const [w, , wo] = parameters;
      const { qkv, weights, heads: out, dHeads, dWeights, dQkv } = kept(run, cells);
      const rows = batch * length;
      product(
        run,
        TRANSPOSE_A,
        [inner, channels, rows],
        [out, inner],
        [dy, channels],
        [gradients[2], channels],
      );
      product(
        run,
        TRANSPOSE_B,
        [rows, inner, channels],
        [dy, channels],
        [wo, channels],
        [dHeads, inner],
      );
      eachHead(run, ({ v, square, head }) => {
        product(run, TRANSPOSE_A, values, square(weights), head(dHeads), v(dQkv));
        product(run, TRANSPOSE_B, scores, head(dHeads), v(qkv), square(dWeights));
      });
      // Scores that a causal mask left out have the weight 0, so their gradient is 0 too. dWeights
      // stays for the tangents, where there are such.
      const dScores = cells.tangentMemory === 0 ? dWeights : tangents(run, cells).dScores;
      kernels.softmaxRowsBackprop(
        weights,
        dWeights,
        dScores,
        batch * heads * length,
        length,
        scale,
      );
      eachHead(run, ({ q, k, square }) => {
        product(run, 0, values, square(dScores), k(qkv), q(dQkv));
        product(run, TRANSPOSE_A, values, square(dScores), q(qkv), k(dQkv));
      });
      product(
        run,
        TRANSPOSE_A,
        [channels, width, rows],
        [x, channels],
        [dQkv, width],
        [gradients[0], width],
      );
      kernels.sumRows(dQkv, gradients[1], rows, width);
      if (dx !== 0)
        product(
          run,
          TRANSPOSE_B,
          [rows, channels, width],
          [dQkv, width],
          [w, width],
          [dx, channels],
        );
    },

    forwardTangent(run, cells) {
      const { batch } = run;
      const { x, xTangent, yTangent, parameters, directions } = cells;
      const [w, , wo] = parameters;
      const [wT, biasT, woT, boT] = directions;
      const { qkv, weights, heads: out } = kept(run, cells);
      const along = tangents(run, cells);
      const rows = batch * length;
      const all = [rows, width, channels] as const;
      product(run, 0, all, [x, channels], [wT, width], [along.qkv, width], biasT);
      if (xTangent !== 0)
        product(run, ACCUMULATE, all, [xTangent, channels], [w, width], [along.qkv, width]);
      eachHead(run, ({ q, k, square }) => {
        product(run, TRANSPOSE_B, scores, q(along.qkv), k(qkv), square(along.weights));
        product(run, TRANSPOSE_B + ACCUMULATE, scores, q(qkv), k(along.qkv), square(along.weights));
      });
      // p' = p (s' - sum p s') with s' scaled: what softmaxRowsBackprop computes.
      run.kernels.softmaxRowsBackprop(
        ...([
          weights,
          along.weights,
          along.weights,
          batch * heads * length,
          length,
          scale,
        ] as const),
      );
      eachHead(run, ({ v, square, head }) => {
        product(run, 0, values, square(along.weights), v(qkv), head(along.heads));
        product(run, ACCUMULATE, values, square(weights), v(along.qkv), head(along.heads));
      });
      const last = [rows, channels, inner] as const;
      product(run, 0, last, [along.heads, inner], [wo, channels], [yTangent, channels], boT);
      product(run, ACCUMULATE, last, [out, inner], [woT, channels], [yTangent, channels]);
    },

    backwardTangent(run, cells) {
      const { kernels, batch } = run;
      const { x, xTangent, dy, dyTangent, dxTangent, parameters, directions, products } = cells;
      const [w, , wo] = parameters;
      const [wT, , woT] = directions;
      const { qkv, weights, heads: out, dHeads, dWeights, dQkv } = kept(run, cells);
      const along = tangents(run, cells);
      const rows = batch * length;
      const toOutput = [inner, channels, rows] as const;
      const to: Matrix = [products[2], channels];
      product(run, TRANSPOSE_A, toOutput, [out, inner], [dyTangent, channels], to);
      product(run, TRANSPOSE_A + ACCUMULATE, toOutput, [along.heads, inner], [dy, channels], to);
      const toHeads = [rows, inner, channels] as const;
      product(
        run,
        TRANSPOSE_B,
        toHeads,
        [dyTangent, channels],
        [wo, channels],
        [along.dHeads, inner],
      );
      product(
        run,
        TRANSPOSE_B + ACCUMULATE,
        toHeads,
        [dy, channels],
        [woT, channels],
        [along.dHeads, inner],
      );
      eachHead(run, ({ v, square, head }) => {
        product(run, TRANSPOSE_A, values, square(weights), head(along.dHeads), v(along.dQkv));
        product(
          run,
          TRANSPOSE_A + ACCUMULATE,
          values,
          square(along.weights),
          head(dHeads),
          v(along.dQkv),
        );
        product(run, TRANSPOSE_B, scores, head(along.dHeads), v(qkv), square(along.dWeights));
        product(
          run,
          TRANSPOSE_B + ACCUMULATE,
          scores,
          head(dHeads),
          v(along.qkv),
          square(along.dWeights),
        );
      });
      // ds' = scale (p' (dp - m) + p (dp' - m')), m = sum p dp, m' = sum (p' dp + p dp').
      const size = batch * squares;
      const [p, pT, dp, dpT] = [weights, along.weights, dWeights, along.dWeights].map((address) =>
        floats(run, address, size),
      );
      for (let from = 0; from < size; from += length) {
        let mean = 0;
        let meanTangent = 0;
        for (let i = from; i < from + length; i++) {
          mean += p[i] * dp[i];
          meanTangent += pT[i] * dp[i] + p[i] * dpT[i];
        }
        for (let i = from; i < from + length; i++)
          dpT[i] = scale * (pT[i] * (dp[i] - mean) + p[i] * (dpT[i] - meanTangent));
      }
      eachHead(run, ({ q, k, square }) => {
        product(run, 0, values, square(along.dWeights), k(qkv), q(along.dQkv));
        product(run, ACCUMULATE, values, square(along.dScores), k(along.qkv), q(along.dQkv));
        product(run, TRANSPOSE_A, values, square(along.dWeights), q(qkv), k(along.dQkv));
        product(
          run,
          TRANSPOSE_A + ACCUMULATE,
          values,
          square(along.dScores),
          q(along.qkv),
          k(along.dQkv),
        );
      });
      const byKernel = [channels, width, rows] as const;
      product(run, TRANSPOSE_A, byKernel, [x, channels], [along.dQkv, width], [products[0], width]);
      if (xTangent !== 0)
        product(
          run,
          TRANSPOSE_A + ACCUMULATE,
          byKernel,
          [xTangent, channels],
          [dQkv, width],
          [products[0], width],
        );
      kernels.sumRows(along.dQkv, products[1], rows, width);
      if (dxTangent === 0) return;
      const byInput = [rows, channels, width] as const;
      product(run, TRANSPOSE_B, byInput, [along.dQkv, width], [w, width], [dxTangent, channels]);
      product(
        run,
        TRANSPOSE_B + ACCUMULATE,
        byInput,
        [dQkv, width],
        [wT, width],
        [dxTangent, channels],
      );
    },
  };
}
