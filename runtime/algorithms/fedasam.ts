import type { Algorithm } from "./algorithm.js";
import { fedavg } from "./fedavg.js";

/**
 * FedASAM (Caldarola et al. 2022, arXiv:2203.11834, after Kwon et al. 2021): as FedSAM with the
 * ascent scaled by T = |theta| + eta on kernels and 1 on biases: rho T^2 g1 / ||T g1||.
 */
export const fedasam: Algorithm = {
  ...fedavg,
  name: "fedasam",
  source:
    "Caldarola et al. 2022, Improving Generalization in Federated Learning by Seeking Flat Minima, arXiv:2203.11834",
  defaults: { rho: 0.5, eta: 0.2 },
  client: {
    ...fedavg.client,
    objective: ({ settings }) => ({
      ascent: {
        kind: "asam",
        radius: settings.rho,
        eta: settings.eta,
        clipped: true,
      },
    }),
  },
};
