import type { Algorithm } from "./algorithm.js";
import { combine } from "./vectors.js";

/**
 * FedDC (Gao et al. 2022, arXiv:2203.11751), in the form of the MAN authors' code. With r = n_k/mean(n) and
 * alpha_k = alpha/r, each client adds alpha_k/2 ||theta - (w - h)||^2 + <theta, c/r - c_k>; then h += delta and
 * c_k <- c_k - c/r - delta/(K eta_0). The server moves to the mean model plus the mean drift of all m clients, and c by the
 * mean over all m clients of r (change of c_k), which is what is sent.
 */
export const feddc: Algorithm = {
  name: "feddc",
  source:
    "Gao et al. 2022, FedDC: Federated Learning with Non-IID Data via Local Drift Decoupling and Correction, arXiv:2203.11751",
  defaults: { alpha: 0.01 },
  client: {
    state: ["drift", "control"],
    receives: ["control"],
    sends: ["delta", "controlChange"],
    objective: ({ global, state, received, settings, share }) => ({
      proximal: {
        coefficient: settings.alpha / share,
        center: combine([1, global], [-1, state.drift]),
      },
      linear: combine([1 / share, received.control], [-1, state.control]),
    }),
    afterTraining(context) {
      const { delta, state, received, share, steps } = context;
      const change = combine(
        [-1 / share, received.control],
        [-1 / (steps * context.initialLearningRate), delta],
      );
      return {
        state: {
          drift: combine([1, state.drift], [1, delta]),
          control: combine([1, state.control], [1, change]),
        },
        update: { delta, controlChange: combine([share, change]) },
      };
    },
  },
  server: {
    folds: { delta: "uniform", controlChange: "uniform" },
    state: { driftSum: () => 0, control: () => 0 },
    broadcast: ({ control }) => ({ control }),
    finish({ global, fold, state, population }) {
      const { delta, controlChange } = fold.sums;
      const driftSum = state.driftSum.map((h, i) => h + delta[i]);
      return {
        global: global.map(
          (w, i) => w + delta[i] / fold.count + driftSum[i] / population,
        ),
        state: {
          driftSum,
          control: state.control.map(
            (c, i) => c + controlChange[i] / population,
          ),
        },
      };
    },
  },
};
