import { fedavg } from "./fedavg.js";
import { withServerOptimizer, type ServerOptimizer } from "./server-optimizer.js";

/** Server momentum: m <- beta m + D; w <- w + eta_g m. */
export const serverMomentum: ServerOptimizer = {
  name: "fedavgm",
  source:
    "Hsu et al. 2019, Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification, arXiv:1909.06335",
  defaults: { serverLearningRate: 1, momentum: 0.9 },
  state: { momentum: () => 0 },
  step(meanDelta, state, { serverLearningRate, momentum: beta }) {
    const momentum = state.momentum.map((m, i) => beta * m + meanDelta[i]);
    return {
      move: momentum.map((m) => serverLearningRate * m),
      state: { momentum },
    };
  },
};

/** FedAvgM (Hsu et al. 2019, arXiv:1909.06335). */
export const fedavgm = withServerOptimizer(fedavg, serverMomentum);
