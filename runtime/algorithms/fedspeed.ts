import type { Algorithm } from "./algorithm.js";
import { feddyn } from "./feddyn.js";

/**
 * FedSpeed (Sun et al. 2023, arXiv:2302.10429), in the form of the MAN authors' code: FedDyn's
 * local objective and server, with each gradient taken after an ascent of radius rho along the
 * unclipped gradient of the loss alone.
 */
export const fedspeed: Algorithm = {
  ...feddyn,
  name: "fedspeed",
  source:
    "Sun et al. 2023, FedSpeed: Larger Local Interval, Less Communication Round, and Higher Generalization Accuracy, arXiv:2302.10429",
  defaults: { alpha: 0.01, rho: 0.01 },
  client: {
    ...feddyn.client,
    objective: (context) => ({
      ...feddyn.client.objective(context),
      ascent: { kind: "sam", radius: context.settings.rho, clipped: false },
    }),
  },
};
