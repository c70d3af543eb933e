import { adaptive } from "./adaptive.js";
import { fedavg } from "./fedavg.js";
import { withServerOptimizer } from "./server-optimizer.js";

/** v <- b2 v + (1 - b2) D^2 */
export const serverAdam = adaptive(
  "fedadam",
  (v, squared, beta2) => beta2 * v + (1 - beta2) * squared,
);

/** FedAdam (Reddi et al. 2021, arXiv:2003.00295). */
export const fedadam = withServerOptimizer(fedavg, serverAdam);
