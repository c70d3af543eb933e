import { type Metric } from "./metric.js";
import { errorsBy } from "./tables.js";

/** 1 - sum of squared errors / sum of squared distances from the targets' mean. */
export const r2: Metric = {
  title: "R2",
  unit: "",
  better: "higher",
  help: "Share of the targets' variance that is explained; 0 for their mean, below for worse",
  tasks: ["numbers"],
  of: (measured) =>
    errorsBy(measured).map(({ n, squares, target, targetSquares }) => {
      const spread = targetSquares - target ** 2 / n;
      // Of targets that do not differ nothing can be explained.
      return n > 1 && spread > 1e-9 * targetSquares ? 1 - squares / spread : undefined;
    }),
};
