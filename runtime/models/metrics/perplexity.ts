import { type Metric } from "./metric.js";

/** exp(mean cross-entropy): among so many equally probable symbols the model wavers. */
export const perplexity: Metric = {
  title: "Perplexity",
  unit: "",
  better: "lower",
  help: "Among how many equally probable symbols the model wavers, e to its mean cross-entropy",
  tasks: ["sequence"],
  of: ({ loss }) => Math.exp(loss),
};
