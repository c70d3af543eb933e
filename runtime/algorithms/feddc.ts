import type { Algorithm, Arrived } from "./algorithm.js";
import { combine, moved, plus } from "./vectors.js";

const controlChange = ({ delta, received, share, steps, initialLearningRate }: Arrived) =>
  combine([-1, received.control], [-share / (steps * initialLearningRate), delta]);

/**
 * FedDC (Gao et al. 2022, arXiv:2203.11751), in the form of the MAN authors' code. With r =
 * n_k/mean(n) and alpha_k = alpha/r, each client adds alpha_k/2 ||theta - (w - h)||^2 + <theta, c/r
 * - c_k>; then h += delta and c_k <- c_k - c/r - delta/(K eta_0). The server moves to the mean
 * model plus the mean drift of all m clients, and c is the mean over all m clients of r c_k. So a
 * client keeps s = r c_k (`scaledControl`) and sends its change, - c - r delta/(K eta_0): the
 * paper's while n_k and mean(n) stay, and where they change, the sum of the s is still the
 * server's, which that of the r c_k would not be.
 */
export const feddc: Algorithm = {
  name: "feddc",
  source:
    "Gao et al. 2022, FedDC: Federated Learning with Non-IID Data via Local Drift Decoupling and Correction, arXiv:2203.11751",
  defaults: { alpha: 0.01 },
  client: {
    state: ["drift", "scaledControl"],
    receives: ["control"],
    sends: ["delta", "controlChange"],
    objective: ({ global, state, received, settings, share }) => ({
      proximal: {
        coefficient: settings.alpha / share,
        center: combine([1, global], [-1, state.drift]),
      },
      linear: combine([1 / share, received.control], [-1 / share, state.scaledControl]),
    }),
    follows: { controlChange },
    update: (context) => ({ delta: context.delta, controlChange: controlChange(context) }),
    nextState: ({ state, sent }) => ({
      drift: plus(state.drift, sent.delta),
      scaledControl: plus(state.scaledControl, sent.controlChange),
    }),
  },
  server: {
    folds: { delta: "uniform", controlChange: "uniform" },
    state: { driftSum: () => 0, controlSum: () => 0 },
    broadcast: ({ controlSum }, population) => ({
      control: controlSum.map((sum) => sum / population),
    }),
    finish({ global, fold, state, population }) {
      const { delta, controlChange } = fold.sums;
      const driftSum = plus(state.driftSum, delta);
      return {
        global: moved(global, (w, i) => w + delta[i] / fold.count + driftSum[i] / population),
        state: { driftSum, controlSum: plus(state.controlSum, controlChange) },
      };
    },
  },
};
