import type { Algorithm } from "./algorithm.js";
import { fedavg } from "./fedavg.js";
import { combine, moved, plus } from "./vectors.js";

/**
 * EF21 (Richtarik et al. 2021, arXiv:2106.05203), with partial participation: the way to run a codec
 * that leaves most of an update out. A client sends the difference of its delta to h, what was
 * counted of it before, and h grows by what arrives. The server keeps the sum of all h, which grows
 * by the same, and moves the model by their mean over all m clients. So every client is always
 * represented, and what is left out once is sent later.
 */
export const memory: Algorithm = {
  name: "memory",
  source:
    "Richtarik et al. 2021, EF21: A New, Simpler, Theoretically Better, and Practically Faster Error Feedback, arXiv:2106.05203",
  defaults: { serverLearningRate: 1 },
  client: {
    ...fedavg.client,
    state: ["memory"],
    feedback: "memory",
    update: ({ delta, state }) => ({ delta: combine([1, delta], [-1, state.memory]) }),
    nextState: ({ state, sent }) => ({ memory: plus(state.memory, sent.delta) }),
  },
  server: {
    folds: { delta: "uniform" },
    state: { memorySum: () => 0 },
    finish({ global, fold, state, settings, population }) {
      const memorySum = plus(state.memorySum, fold.sums.delta);
      const scale = settings.serverLearningRate / population;
      return {
        global: moved(global, (w, i) => w + scale * memorySum[i]),
        state: { memorySum },
      };
    },
  },
};
