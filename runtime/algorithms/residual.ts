import type { Algorithm } from "./algorithm.js";
import { fedavg } from "./fedavg.js";
import { combine, moved } from "./vectors.js";

/**
 * Error feedback (Karimireddy et al. 2019, arXiv:1901.09847): what a codec leaves out of an update
 * is added to the client's next one. A delta goes most of the way to a client's own optimum, and a
 * residual that waits many rounds adds it up as often: the server's step has to be small.
 */
export const residual: Algorithm = {
  name: "residual",
  source:
    "Karimireddy et al. 2019, Error Feedback Fixes SignSGD and other Gradient Compression Schemes, arXiv:1901.09847",
  defaults: { serverLearningRate: 0.01 },
  client: {
    ...fedavg.client,
    state: ["residual"],
    feedback: "residual",
    update: ({ delta, state }) => ({ delta: combine([1, delta], [1, state.residual]) }),
    nextState: ({ sent, wanted }) => ({
      residual: Float64Array.from(combine([1, wanted.delta], [-1, sent.delta])),
    }),
  },
  server: {
    ...fedavg.server,
    finish({ global, fold, state, settings }) {
      const sum = fold.sums.delta;
      const scale = settings.serverLearningRate / fold.weights.delta;
      return { global: moved(global, (w, i) => w + scale * sum[i]), state };
    },
  },
};
