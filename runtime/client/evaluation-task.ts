import type { OutgoingClientMessage } from "../protocol/client-messages.js";
import { weightedOf } from "../training/job.js";
import { readable } from "./assignment.js";
import { aboutOf, type Participation, type Task } from "./context.js";
import { withPersonal } from "./personal.js";
import { examplesFor, modelOf } from "./task-inputs.js";

/** Measures the model on the examples that are held out, and reports that. */
export async function evaluate(part: Participation, task: Task): Promise<void> {
  const loaded = await modelOf(part, task);
  const model = await withPersonal(loaded.model, () => part.session!.records.state());
  const examples = await examplesFor(part, task, model, "test");
  const { sums, ...figures } = await part.workers
    .trainer()
    .evaluate({ ...weightedOf(model), part: examples }, { signal: task.controller.signal });
  report(part, task, { evaluation: { ...figures, ...(sums && { sums: [...sums] }) } });
}

/** Ends a task with its figures, which the connection repeats until they are received. */
export function report(
  part: Participation,
  task: Task,
  figures: Omit<Extract<OutgoingClientMessage, { type: "report" }>, "type" | "assignment">,
): void {
  const { assignment } = task.assign;
  const message = readable({ type: "report" as const, assignment, ...figures });
  task.settled = true;
  part.connection.offer(message);
  part.reported = aboutOf(task.assign);
  part.events.emit("assignment", { ...part.reported, what: "reported" });
}
