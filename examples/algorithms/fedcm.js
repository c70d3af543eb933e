/**
 * FedCM (Xu et al. 2021, "FedCM: Federated Learning with Client-level Momentum", arXiv:2106.10874): each client adds the
 * mean direction of the last round to each of its gradients. The paper's alpha is 1 / (1 + beta), and its local learning
 * rate is ours times 1 + beta.
 *
 * @type {import("fedflat").Algorithm}
 */
export default {
  name: "fedcm",
  source: "Xu et al. 2021, arXiv:2106.10874",
  defaults: { beta: 0.5 },

  client: {
    state: [],
    receives: ["momentum"],
    sends: ["delta"],
    objective: ({ received, settings, steps, learningRate }) => ({
      // Over all K steps of size eta this alone would move the weights by beta times the last
      // round's mean delta.
      linear: received.momentum.map((m) => (-settings.beta * m) / (steps * learningRate)),
    }),
    update: ({ delta }) => ({ delta }),
  },

  server: {
    folds: { delta: "samples" },
    state: { momentum: () => 0 },
    broadcast: ({ momentum }) => ({ momentum }),
    finish({ global, fold }) {
      const mean = fold.sums.delta.map((sum) => sum / fold.weights.delta);
      return {
        global: global.map((w, i) => w + mean[i]),
        state: { momentum: mean },
      };
    },
  },
};
