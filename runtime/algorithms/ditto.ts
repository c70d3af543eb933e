import type { Algorithm } from "./algorithm.js";
import { fedavg } from "./fedavg.js";

/**
 * Ditto (Li et al. 2021, arXiv:2012.04221, algorithm 1, the global model by FedAvg): beside the
 * shared model each client trains one of its own, v, on its loss + lambda/2 ||v - w_t||^2, from
 * where v stood. lambda 0 is training alone; the larger it is, the nearer v stays to w_t.
 */
export const ditto: Algorithm = {
  ...fedavg,
  name: "ditto",
  source:
    "Li et al. 2021, Ditto: Fair and Robust Federated Learning Through Personalization, arXiv:2012.04221",
  defaults: { lambda: 0.1 },
  client: {
    ...fedavg.client,
    state: ["personal"],
    personal: ({ global, settings }) => ({
      proximal: { coefficient: settings.lambda, center: global },
    }),
    nextState: ({ personal }) => ({ personal: Float64Array.from(personal!) }),
  },
};
