import { ratio, type Metric } from "./metric.js";
import { predictionsBy } from "./tables.js";

/** Of those predicted, the share that is right: a mean over the classes that are there. */
export const precision: Metric = {
  title: "Precision",
  unit: "share",
  better: "higher",
  help: "Share of what is predicted of a class that is right, a mean over the classes that are there",
  tasks: ["labels", "classes", "sequence"],
  of: (measured) =>
    predictionsBy(measured).map(({ there, said, both }) =>
      there > 0 ? (ratio(both, said) ?? 0) : undefined,
    ),
};
