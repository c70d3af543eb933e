import type { ServerOptimizer } from "./server-optimizer.js";

/**
 * The frame that FedAdam, FedYogi and FedAdagrad share (Reddi et al. 2021, arXiv:2003.00295,
 * algorithm 2): m <- b1 m + (1 - b1) D; v <- `second`(v, D^2); w <- w + eta_g m / (sqrt v + tau);
 * m0 = 0, v0 = tau^2, no bias correction.
 */
export function adaptive(
  name: string,
  second: (v: number, squared: number, beta2: number) => number,
): ServerOptimizer {
  return {
    name,
    source: "Reddi et al. 2021, Adaptive Federated Optimization, arXiv:2003.00295",
    defaults: { serverLearningRate: 0.1, beta1: 0.9, beta2: 0.99, tau: 1e-3 },
    state: { first: () => 0, second: ({ tau }) => tau * tau },
    step(meanDelta, state, { serverLearningRate, beta1, beta2, tau }) {
      const first = state.first.map((m, i) => beta1 * m + (1 - beta1) * meanDelta[i]);
      const v = state.second.map((v, i) => second(v, meanDelta[i] ** 2, beta2));
      return {
        move: first.map((m, i) => (serverLearningRate * m) / (Math.sqrt(v[i]) + tau)),
        state: { first, second: v },
      };
    },
  };
}
