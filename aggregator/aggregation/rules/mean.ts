import { weightedSum, type Rule } from "./rule.js";

/** Each update with the samples that its client counts with, or uniformly: as the algorithm says. */
export const mean: Rule = {
  name: "mean",
  source:
    "McMahan et al. 2017, Communication-Efficient Learning of Deep Networks from Decentralized Data, arXiv:1602.05629",
  purpose: "members who can be trusted: a single hostile update moves it as far as it likes",
  defaults: {},
  condition: "f = 0",
  least: (hostile) => (hostile === 0 ? 1 : Infinity),
  needsHostile: false,
  streams: () => ({ kind: "weighted" }),
  keepsCentre: false,
  combine(gathered) {
    const { weights } = gathered;
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return { outcome: weightedSum(gathered, (i) => weights[i]).map((x) => x / total) };
  },
};
