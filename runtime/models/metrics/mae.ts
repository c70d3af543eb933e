import { ratio, type Metric } from "./metric.js";
import { errorsBy } from "./tables.js";

/** Mean absolute error. */
export const mae: Metric = {
  title: "Mean absolute error",
  unit: "target units",
  better: "lower",
  help: "Mean absolute error, in the target's units",
  tasks: ["numbers"],
  of: (measured) =>
    errorsBy(measured).map(({ n, absolute, deviation }) => ratio(absolute * deviation, n)),
};
