import type { Algorithm } from "./algorithm.js";
import { moved } from "./vectors.js";

/** FedAvg (McMahan et al. 2017, arXiv:1602.05629): w <- w + sum n_k d_k / sum n_k. */
export const fedavg: Algorithm = {
  name: "fedavg",
  source:
    "McMahan et al. 2017, Communication-Efficient Learning of Deep Networks from Decentralized Data, arXiv:1602.05629",
  defaults: {},
  client: {
    state: [],
    receives: [],
    sends: ["delta"],
    objective: () => ({}),
    update: ({ delta }) => ({ delta }),
  },
  server: {
    folds: { delta: "samples" },
    state: {},
    finish({ global, fold, state }) {
      const sum = fold.sums["delta"];
      const scale = 1 / fold.weights["delta"];
      return { global: moved(global, (w, i) => w + sum[i] * scale), state };
    },
  },
};
