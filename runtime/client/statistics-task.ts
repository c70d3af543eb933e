import { channelStatistics } from "../data/normalise.js";
import { readStatisticsSettings } from "../protocol/settings.js";
import type { Participation, Task } from "./context.js";
import { Declined } from "./declined.js";
import { report } from "./evaluation-task.js";
import { LEAST_MEASURED } from "./examples.js";
import { examplesFor } from "./task-inputs.js";

/** Measures the inputs of the examples to train on, and reports that. */
export async function measure(part: Participation, task: Task): Promise<void> {
  const { model, settings } = task.assign;
  const { scale } = readStatisticsSettings(settings);
  const { dataset, rows } = await examplesFor(part, task, await part.models.card(model), "train");
  const count = rows.length;
  if (count < LEAST_MEASURED)
    throw new Declined(
      "data",
      `"data" expected ${LEAST_MEASURED} examples or more for statistics, got ${count}`,
    );
  report(part, task, { statistics: { count, ...channelStatistics(dataset, rows, scale) } });
}
