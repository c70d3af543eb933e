import { ratio, type Metric } from "./metric.js";

/** Share of the labels that are among the five most probable classes. */
export const top5: Metric = {
  title: "Top-5 accuracy",
  unit: "share",
  better: "higher",
  help: "Share of the classes that are among the five most probable ones",
  tasks: ["classes", "sequence"],
  of: ({ network, sums }) =>
    sums && network.classes > 5 ? ratio(sums.values[2], sums.values[0]) : undefined,
};
