import { adaptive } from "./adaptive.js";
import { fedavg } from "./fedavg.js";
import { withServerOptimizer } from "./server-optimizer.js";

/** v <- v - (1 - b2) D^2 sign(v - D^2) */
export const serverYogi = adaptive(
  "fedyogi",
  (v, squared, beta2) => v - (1 - beta2) * squared * Math.sign(v - squared),
);

/** FedYogi (Reddi et al. 2021, arXiv:2003.00295). */
export const fedyogi = withServerOptimizer(fedavg, serverYogi);
