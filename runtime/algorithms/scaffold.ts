import type { Algorithm, Arrived } from "./algorithm.js";
import { combine, moved, plus } from "./vectors.js";

const controlChange = ({ delta, received, steps, learningRate }: Arrived) =>
  combine([-1, received.control], [-1 / (steps * learningRate), delta]);

/**
 * SCAFFOLD (Karimireddy et al. 2020, arXiv:1910.06378, algorithm 1, option II): the gradient is
 * corrected by c - c_k; c_k <- c_k - c - delta/(K eta_t), and c is the mean of the c_k of all m
 * clients. The server keeps their sum, which grows by the same changes as the clients' own, and
 * divides by the m of the round.
 */
export const scaffold: Algorithm = {
  name: "scaffold",
  source:
    "Karimireddy et al. 2020, SCAFFOLD: Stochastic Controlled Averaging for Federated Learning, arXiv:1910.06378",
  defaults: { serverLearningRate: 1 },
  client: {
    state: ["control"],
    receives: ["control"],
    sends: ["delta", "controlChange"],
    objective: ({ state, received }) => ({
      linear: combine([1, received.control], [-1, state.control]),
    }),
    follows: { controlChange },
    update: (context) => ({ delta: context.delta, controlChange: controlChange(context) }),
    nextState: ({ state, sent }) => ({
      control: plus(state.control, sent.controlChange),
    }),
  },
  server: {
    folds: { delta: "uniform", controlChange: "uniform" },
    state: { controlSum: () => 0 },
    broadcast: ({ controlSum }, population) => ({
      control: controlSum.map((sum) => sum / population),
    }),
    finish({ global, fold, state, settings }) {
      const { delta, controlChange } = fold.sums;
      const scale = settings.serverLearningRate / fold.count;
      return {
        global: moved(global, (w, i) => w + scale * delta[i]),
        state: { controlSum: plus(state.controlSum, controlChange) },
      };
    },
  },
};
