import type { Algorithm } from "./algorithm.js";
import { combine, moved, plus } from "./vectors.js";

/**
 * FedDyn (Acar et al. 2021, arXiv:2111.04263, algorithm 1), in the form of the MAN authors' code.
 * Each client remembers its drift h, the sum of its deltas; it adds alpha_k <theta, h - w> to its
 * loss and alpha_k to its weight decay, with alpha_k = alpha mean(n)/n_k. The server moves to the
 * mean model of the participants plus the mean drift of all m clients; it keeps only the sum of the
 * drifts, which grows by the same deltas as the clients' own.
 */
export const feddyn: Algorithm = {
  name: "feddyn",
  source: "Acar et al. 2021, Federated Learning Based on Dynamic Regularization, arXiv:2111.04263",
  defaults: { alpha: 0.01 },
  client: {
    state: ["drift"],
    receives: [],
    sends: ["delta"],
    objective({ global, state, settings, share }) {
      const alpha = settings.alpha / share;
      return {
        linear: combine([alpha, state.drift], [-alpha, global]),
        weightDecay: alpha,
      };
    },
    update: ({ delta }) => ({ delta }),
    nextState: ({ state, sent }) => ({ drift: plus(state.drift, sent.delta) }),
  },
  server: {
    folds: { delta: "uniform" },
    state: { driftSum: () => 0 },
    finish({ global, fold, state, population }) {
      const sum = fold.sums.delta;
      const driftSum = plus(state.driftSum, sum);
      return {
        global: moved(global, (w, i) => w + sum[i] / fold.count + driftSum[i] / population),
        state: { driftSum },
      };
    },
  },
};
