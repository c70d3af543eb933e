import type { Part } from "../data/dataset.js";
import { DataError, ModelError } from "../errors.js";
import { expectedBy, type ModelCard } from "../models/model.js";
import { misfit } from "./availability.js";
import { Declined } from "./declined.js";
import { errorOf } from "./events.js";
import type { Loaded } from "./model-cache.js";
import type { Participation, Task } from "./context.js";

/** The assignment's model. @throws Declined `layer` where the device lacks what it asks for */
export async function modelOf({ models }: Participation, task: Task): Promise<Loaded> {
  try {
    const { model, differences } = task.assign;
    return await unlessAborted(models.load(model, differences), task.controller.signal);
  } catch (error) {
    if (error instanceof ModelError && error.code === "description")
      throw new Declined("layer", error.message);
    throw error;
  }
}

/**
 * The device's examples for an assignment.
 * @throws Declined `data` where they do not fit, or where none is of the kind that the task is for
 */
export async function examplesFor(
  participation: Participation,
  { assign, controller: { signal } }: Task,
  model: ModelCard,
  half: "train" | "test",
): Promise<Part> {
  const { examples } = participation;
  const { assignment, round, task } = assign;
  const request = { assignment, round, task, ...expectedBy(model) };
  let part: Part;
  try {
    const parts = await unlessAborted(examples.split(request), signal);
    part = parts[half];
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof DataError && examples.check) misfit(participation, error);
    throw new Declined("data", errorOf(error).message);
  }
  if (part.rows.length > 0) return part;
  const kind = half === "train" ? "to train on" : "held out";
  throw new Declined("data", `"data" expected an example ${kind}`);
}

/** What may take any time, until the signal says that nobody waits for it any more. */
function unlessAborted<T>(task: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    task.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
