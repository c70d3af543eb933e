import { adaptive } from "./adaptive.js";
import { fedavg } from "./fedavg.js";
import { withServerOptimizer } from "./server-optimizer.js";

/** v <- v + D^2 */
export const serverAdagrad = adaptive("fedadagrad", (v, squared) => v + squared);

/** FedAdagrad (Reddi et al. 2021, arXiv:2003.00295). */
export const fedadagrad = withServerOptimizer(fedavg, serverAdagrad);
