import { ratio, type Metric } from "./metric.js";

/** Share of the classes that are found. */
export const accuracy: Metric = {
  title: "Accuracy",
  unit: "share",
  better: "higher",
  help: "Share of the classes that are found",
  tasks: ["classes", "sequence"],
  of: ({ network, count, correct, sums }) =>
    network.loss.task === "classes"
      ? ratio(correct, count)
      : sums && ratio(sums.values[1], sums.values[0]),
};
