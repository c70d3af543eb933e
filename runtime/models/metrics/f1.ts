import { type Metric } from "./metric.js";
import { predictionsBy } from "./tables.js";

/** 2 PR / (P + R) of each class that is there, and their mean (macro F1). */
export const f1: Metric = {
  title: "F1",
  unit: "share",
  better: "higher",
  help: "Harmonic mean of precision and recall, a mean over the classes that are there",
  tasks: ["labels", "classes", "sequence"],
  of: (measured) =>
    predictionsBy(measured).map(({ there, said, both }) =>
      there > 0 ? (2 * both) / (there + said) : undefined,
    ),
};
