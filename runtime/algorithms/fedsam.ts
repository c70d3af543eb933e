import type { Algorithm } from "./algorithm.js";
import { fedavg } from "./fedavg.js";

/**
 * FedSAM (Qu et al. 2022, arXiv:2206.02618; Caldarola et al. 2022, arXiv:2203.11834): each local
 * step descends along the gradient taken at theta + rho g1/||g1||, g1 being the clipped gradient at
 * theta.
 */
export const fedsam: Algorithm = {
  ...fedavg,
  name: "fedsam",
  source:
    "Qu et al. 2022, Generalized Federated Learning via Sharpness Aware Minimization, arXiv:2206.02618",
  defaults: { rho: 0.05 },
  client: {
    ...fedavg.client,
    objective: ({ settings }) => ({
      ascent: { kind: "sam", radius: settings.rho, clipped: true },
    }),
  },
};
