import type { Algorithm } from "./algorithm.js";
import { combine } from "./vectors.js";

/**
 * SCAFFOLD (Karimireddy et al. 2020, arXiv:1910.06378, algorithm 1, option II): the gradient is corrected by c - c_k;
 * c_k <- c_k - c - delta/(K eta_t) and the server's c moves by the mean over all m clients of the changes.
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
    afterTraining({ delta, state, received, steps, learningRate }) {
      const controlChange = combine(
        [-1, received.control],
        [-1 / (steps * learningRate), delta],
      );
      return {
        state: { control: combine([1, state.control], [1, controlChange]) },
        update: { delta, controlChange },
      };
    },
  },
  server: {
    folds: { delta: "uniform", controlChange: "uniform" },
    state: { control: () => 0 },
    broadcast: ({ control }) => ({ control }),
    finish({ global, fold, state, settings, population }) {
      const { delta, controlChange } = fold.sums;
      const scale = settings.serverLearningRate / fold.count;
      return {
        global: global.map((w, i) => w + scale * delta[i]),
        state: {
          control: state.control.map(
            (c, i) => c + controlChange[i] / population,
          ),
        },
      };
    },
  },
};
