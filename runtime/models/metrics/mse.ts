import { ratio, type Metric } from "./metric.js";
import { errorsBy } from "./tables.js";

/** Mean squared error. */
export const mse: Metric = {
  title: "Mean squared error",
  unit: "target units",
  better: "lower",
  help: "Mean squared error, in squares of the target's units",
  tasks: ["numbers"],
  of: (measured) =>
    errorsBy(measured).map(({ n, squares, deviation }) => ratio(squares * deviation ** 2, n)),
};
