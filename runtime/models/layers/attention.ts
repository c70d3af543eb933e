import * as v from "valibot";
import { ACCUMULATE, TRANSPOSE_A, TRANSPOSE_B } from "../../wasm/kernels.js";
import { positiveInteger, sequenceOf, trueOrFalse } from "./fields.js";
import { floats, layerKind, regions, wordsOf, type Cells, type Layer, type Run } from "./layer.js";
import { matrixWithin, product, type Matrix } from "./linear.js";

/**
 * Multi-head self-attention (Vaswani et al. 2017, arXiv:1706.03762): for each head softmax(q k^T /
 * sqrt(keySize)) v, then x Wo + bo. With `causal` a position sees itself and those before it.
 */
export const multiHeadAttention = layerKind({
  schema: v.strictObject({
    type: v.literal("multiHeadAttention"),
    heads: positiveInteger,
    keySize: v.optional(positiveInteger),
    causal: trueOrFalse,
  }),
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
  const words = wordsOfHeads(length, heads, keySize);
  const project = matrixWithin(length, channels, width, [0, 1]);
  const join = matrixWithin(length, inner, channels, [2, 3]);
  const attend = headsOf(length, heads, keySize, causal);
  const tangentWords = { ...words, dScores: words.weights };
  const kept = ({ batch }: Run, { memory }: Cells) => regions(memory, batch, words);
  const tangents = ({ batch }: Run, { tangentMemory }: Cells) =>
    regions(tangentMemory, batch, tangentWords);
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
    remembers: wordsOf(words),
    remembersTangents: wordsOf(tangentWords),

    forward(run, cells) {
      const own = kept(run, cells);
      project.forward(run, { ...cells, y: own.qkv });
      attend.forward(run, own);
      join.forward(run, { ...cells, x: own.heads });
      return 0;
    },
    backward(run, cells) {
      const own = kept(run, cells);
      join.backward(run, { ...cells, x: own.heads, dx: own.dHeads });
      // dWeights stays for the tangents, where there are such.
      const dScores = cells.tangentMemory > 0 ? tangents(run, cells).dScores : own.dWeights;
      attend.backward(run, own, dScores);
      project.backward(run, { ...cells, dy: own.dQkv });
    },
    forwardTangent(run, cells) {
      const own = kept(run, cells);
      const along = tangents(run, cells);
      project.forwardTangent(run, { ...cells, yTangent: along.qkv });
      attend.forwardTangent(run, own, along);
      join.forwardTangent(run, { ...cells, x: own.heads, xTangent: along.heads });
    },
    backwardTangent(run, cells) {
      const own = kept(run, cells);
      const along = tangents(run, cells);
      const { heads: x } = own;
      join.backwardTangent(run, { ...cells, x, xTangent: along.heads, dxTangent: along.dHeads });
      attend.backwardTangent(run, own, along);
      project.backwardTangent(run, { ...cells, dy: own.dQkv, dyTangent: along.dQkv });
    },
  };
}

/** Words per example of the heads' tensors and their gradients. */
const wordsOfHeads = (length: number, heads: number, keySize: number) => ({
  /** q, k and v side by side. */
  qkv: 3 * heads * keySize * length,
  /** softmax of the scores. */
  weights: heads * length * length,
  heads: heads * keySize * length,
  dHeads: heads * keySize * length,
  dWeights: heads * length * length,
  dQkv: 3 * heads * keySize * length,
});

/** Where each of those tensors lies, for a batch. */
type Tensors = Readonly<Record<keyof ReturnType<typeof wordsOfHeads>, number>>;
/** Their tangents, and the gradient of the scores. */
type Tangents = Tensors & { readonly dScores: number };

/** What lies between the two products with the kernels: from q, k, v to the heads side by side. */
function headsOf(length: number, heads: number, keySize: number, causal: boolean) {
  const inner = heads * keySize;
  const width = 3 * inner;
  const scale = 1 / Math.sqrt(keySize);
  const squares = heads * length * length;
  const scores = [length, length, keySize] as const;
  const values = [length, keySize, length] as const;
  /** One example's head's matrices in tensors like those. */
  const headAt = (b: number, h: number) => {
    const part =
      (block: number) =>
      (qkv: number): Matrix => [
        qkv + 4 * (b * length * width + block * inner + h * keySize),
        width,
      ];
    return {
      q: part(0),
      k: part(1),
      v: part(2),
      square: (weights: number): Matrix => [
        weights + 4 * (b * heads + h) * length * length,
        length,
      ],
      head: (address: number): Matrix => [address + 4 * (b * length * inner + h * keySize), inner],
    };
  };
  const eachHead = ({ batch }: Run, visit: (at: ReturnType<typeof headAt>) => void) => {
    for (let b = 0; b < batch; b++) for (let h = 0; h < heads; h++) visit(headAt(b, h));
  };
  const softmaxBackprop = ({ kernels, batch }: Run, p: number, dp: number, ds: number) =>
    kernels.softmaxRowsBackprop(p, dp, ds, batch * heads * length, length, scale);

  return {
    forward(run: Run, { qkv, weights, heads: out }: Tensors): void {
      eachHead(run, ({ q, k, square }) =>
        product(run, TRANSPOSE_B, scores, q(qkv), k(qkv), square(weights)),
      );
      const rows = run.batch * heads * length;
      run.kernels.softmaxRows(weights, rows, length, scale, Number(causal));
      eachHead(run, ({ v, square, head }) =>
        product(run, 0, values, square(weights), v(qkv), head(out)),
      );
    },

    backward(run: Run, own: Tensors, dScores: number): void {
      const { qkv, weights, dHeads, dWeights, dQkv } = own;
      eachHead(run, ({ v, square, head }) => {
        product(run, TRANSPOSE_A, values, square(weights), head(dHeads), v(dQkv));
        product(run, TRANSPOSE_B, scores, head(dHeads), v(qkv), square(dWeights));
      });
      // Scores that a causal mask left out have the weight 0, so their gradient is 0 too.
      softmaxBackprop(run, weights, dWeights, dScores);
      eachHead(run, ({ q, k, square }) => {
        product(run, 0, values, square(dScores), k(qkv), q(dQkv));
        product(run, TRANSPOSE_A, values, square(dScores), q(qkv), k(dQkv));
      });
    },

    forwardTangent(run: Run, { qkv, weights }: Tensors, along: Tensors): void {
      const add = ACCUMULATE;
      eachHead(run, ({ q, k, square }) => {
        const to = square(along.weights);
        product(run, TRANSPOSE_B, scores, q(along.qkv), k(qkv), to);
        product(run, TRANSPOSE_B + add, scores, q(qkv), k(along.qkv), to);
      });
      // p' = p (s' - sum p s') with s' scaled: what softmaxRowsBackprop computes.
      softmaxBackprop(run, weights, along.weights, along.weights);
      eachHead(run, ({ v, square, head }) => {
        product(run, 0, values, square(along.weights), v(qkv), head(along.heads));
        product(run, add, values, square(weights), v(along.qkv), head(along.heads));
      });
    },

    backwardTangent(run: Run, own: Tensors, along: Tangents): void {
      const { qkv, weights, dHeads, dWeights } = own;
      const { dScores } = along;
      const transposed = TRANSPOSE_A + ACCUMULATE;
      eachHead(run, ({ v, square, head }) => {
        const [toValues, toWeights] = [v(along.dQkv), square(along.dWeights)];
        product(run, TRANSPOSE_A, values, square(weights), head(along.dHeads), toValues);
        product(run, transposed, values, square(along.weights), head(dHeads), toValues);
        product(run, TRANSPOSE_B, scores, head(along.dHeads), v(qkv), toWeights);
        product(run, TRANSPOSE_B + ACCUMULATE, scores, head(dHeads), v(along.qkv), toWeights);
      });
      // ds' = scale (p' (dp - m) + p (dp' - m')), m = sum p dp, m' = sum (p' dp + p dp').
      const size = run.batch * squares;
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
        const [toQueries, toKeys] = [q(along.dQkv), k(along.dQkv)];
        product(run, 0, values, square(along.dWeights), k(qkv), toQueries);
        product(run, ACCUMULATE, values, square(dScores), k(along.qkv), toQueries);
        product(run, TRANSPOSE_A, values, square(along.dWeights), q(qkv), toKeys);
        product(run, transposed, values, square(dScores), q(along.qkv), toKeys);
      });
    },
  };
}
