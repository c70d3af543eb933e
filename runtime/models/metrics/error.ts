import { type Metric } from "./metric.js";

/** What an example's error is on the average. */
export const error: Metric = {
  title: "Error",
  unit: "",
  better: "lower",
  help: "Mean error of an example whose input is its target, in normalised units",
  tasks: ["input"],
  of: ({ loss }) => loss,
};
