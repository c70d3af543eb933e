import { ratio, type Metric } from "./metric.js";
import { predictionsBy } from "./tables.js";

/** Of those that are there, the share that is predicted: a mean over the classes that are there. */
export const recall: Metric = {
  title: "Recall",
  unit: "share",
  better: "higher",
  help: "Share of what is of a class that is predicted, a mean over the classes that are there",
  tasks: ["labels", "classes", "sequence"],
  of: (measured) => predictionsBy(measured).map(({ there, both }) => ratio(both, there)),
};
