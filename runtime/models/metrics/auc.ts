import { type Metric } from "./metric.js";
import { BINS, columnsOf, isScored } from "./sums.js";

/**
 * The probability that an example with the label scores higher than one without it, of one bin half
 * (Mann and Whitney's U): the area under the ROC curve, to about a hundredth.
 */
export const auc: Metric = {
  title: "ROC-AUC",
  unit: "share",
  better: "higher",
  help: "Probability that an example with a label scores above one without it, a mean over up to 16 labels",
  tasks: ["labels"],
  of({ network, sums }) {
    const columns = columnsOf(network);
    if (sums === undefined || !isScored(columns)) return undefined;
    return Array.from({ length: columns }, (_, column) => {
      const from = 3 * columns + 2 * BINS * column;
      let below = 0;
      let pairs = 0;
      let positives = 0;
      for (let bin = 0; bin < BINS; bin++) {
        const without = sums.values[from + bin];
        const withIt = sums.values[from + BINS + bin];
        pairs += withIt * (below + without / 2);
        below += without;
        positives += withIt;
      }
      return positives > 0 && below > 0 ? pairs / (positives * below) : undefined;
    });
  },
};
