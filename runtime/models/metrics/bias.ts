import { ratio, type Metric } from "./metric.js";
import { errorsBy } from "./tables.js";

/** Mean of prediction minus target. */
export const bias: Metric = {
  title: "Bias",
  unit: "target units",
  better: "nearer to 0",
  help: "Mean of prediction minus target, in the target's units",
  tasks: ["numbers"],
  of: (measured) =>
    errorsBy(measured).map(({ n, error, deviation }) => ratio(error * deviation, n)),
};
