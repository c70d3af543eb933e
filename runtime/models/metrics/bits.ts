import { type Metric } from "./metric.js";

/** Mean cross-entropy by two: bits per character where symbols are characters. */
export const bits: Metric = {
  title: "Bits per symbol",
  unit: "bits",
  better: "lower",
  help: "Mean cross-entropy in bits, of text the bits per character",
  tasks: ["sequence"],
  of: ({ loss }) => loss / Math.LN2,
};
