import { weightedOf } from "../training/job.js";
import { readable } from "./assignment.js";
import { aboutOf, type Participation, type Task } from "./context.js";
import { examplesFor, modelOf } from "./task-inputs.js";

/** Measures the model on the examples that are held out, and reports that. */
export async function evaluate(part: Participation, task: Task): Promise<void> {
  const { assignment } = task.assign;
  const loaded = await modelOf(part, task);
  const examples = await examplesFor(part, task, loaded, "test");
  const { sums, ...figures } = await part.workers
    .trainer()
    .evaluate({ ...weightedOf(loaded.model), part: examples }, { signal: task.controller.signal });
  const evaluation = { ...figures, ...(sums && { sums: [...sums] }) };
  const report = readable({ type: "report" as const, assignment, evaluation });
  task.settled = true;
  part.connection.offer(report);
  part.reported = aboutOf(task.assign);
  part.events.emit("assignment", { ...part.reported, what: "reported" });
}
