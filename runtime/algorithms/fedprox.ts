import type { Algorithm } from "./algorithm.js";
import { fedavg } from "./fedavg.js";

/**
 * FedProx (Li et al. 2020, arXiv:1812.06127, eq. 2): each client also minimises mu/2 ||theta -
 * w_t||^2.
 */
export const fedprox: Algorithm = {
  ...fedavg,
  name: "fedprox",
  source: "Li et al. 2020, Federated Optimization in Heterogeneous Networks, arXiv:1812.06127",
  defaults: { mu: 1e-4 },
  client: {
    ...fedavg.client,
    objective: ({ global, settings }) => ({
      proximal: { coefficient: settings.mu, center: global },
    }),
  },
};
