import { channelStatistics } from "../data/normalise.js";
import { readStatisticsSettings } from "../protocol/settings.js";
import type { Part } from "../data/dataset.js";
import type { Participation, Task } from "./context.js";
import { Declined } from "./declined.js";
import { report } from "./evaluation-task.js";
import { LEAST_MEASURED } from "./examples.js";
import { examplesFor } from "./task-inputs.js";

/** Measures the inputs of the examples to train on, and reports that. */
export async function measure(part: Participation, task: Task): Promise<void> {
  const { model, settings } = task.assign;
  const wanted = readStatisticsSettings(settings);
  const examples = await examplesFor(part, task, await part.models.card(model), "train");
  const { length } = examples.rows;
  if (length < LEAST_MEASURED)
    throw new Declined(
      "data",
      `"data" expected ${LEAST_MEASURED} examples or more for statistics, got ${length}`,
    );
  report(part, task, { statistics: statisticsOf(examples, wanted) });
}

/** What a `report` says of examples, as the assignment's settings ask. */
export function statisticsOf(
  { dataset, rows }: Part,
  wanted: ReturnType<typeof readStatisticsSettings>,
) {
  const inputs = channelStatistics(dataset, rows, wanted.scale);
  const { targets } = dataset;
  if (wanted.targets === 0 || targets === undefined) return { count: rows.length, ...inputs };
  const { size, values, starts } = targets;
  const { mean, deviation } = channelStatistics({ inputs: values, starts, shape: [size] }, rows, 1);
  return { count: rows.length, ...inputs, targetMean: mean, targetDeviation: deviation };
}
