import { algorithmNamed } from "../algorithms/built-in.js";
import { codecNamed, codecSettings } from "../codecs/built-in.js";
import { ConfigError, DataError, FedflatError, ModelError } from "../errors.js";
import type { ServerMessageOf } from "../protocol/server-messages.js";
import { readTrainSettings } from "../protocol/settings.js";
import { failureCode } from "./assignment.js";
import { availabilityOf, checkAvailability } from "./availability.js";
import { aboutOf, inBackground, type Participation, type Task } from "./context.js";
import { Declined } from "./declined.js";
import { evaluate } from "./evaluation-task.js";
import { errorOf } from "./events.js";
import { mostClients } from "../secure/quantise.js";
import { agreedIn } from "./secure-round.js";
import { measure } from "./statistics-task.js";
import { train, type TrainOptions } from "./training-task.js";

type Assign = ServerMessageOf<"assign">;

/** Takes an assignment on, or says why not. */
export function assigned(part: Participation, assign: Assign): void {
  const { connection, task } = part;
  const { assignment } = assign;
  if (task?.settled) {
    // The task before has not let go of the trainer yet.
    inBackground(
      part,
      task.done.then(() => assigned(part, assign)),
    );
    return;
  }
  if (task?.assign.assignment === assignment) {
    connection.tell({ type: "accept", assignment });
    return;
  }
  if (part.secure?.about.assignment === assignment) {
    connection.tell({ type: "trained", assignment });
    return;
  }
  if (connection.repeat(assignment)) return;
  // Finished in an earlier life: its offer is on its way from the store.
  const { pending } = part.session!.records.record;
  if (pending.some(({ offer }) => offer.assignment === assignment)) return;
  let options: TrainOptions | undefined;
  try {
    options = optionsOf(part, assign);
  } catch (error) {
    return giveUp(part, assign, error);
  }
  connection.tell({ type: "accept", assignment });
  part.events.emit("assignment", { ...aboutOf(assign), what: "accepted" });
  begin(part, assign, options);
}

function begin(part: Participation, assign: Assign, options: TrainOptions | undefined): void {
  const controller = new AbortController();
  const task: Task = { assign, controller, settled: false, done: Promise.resolve() };
  part.task = task;
  part.workers.update({ working: true });
  const without = assign.task === "evaluate" ? evaluate : measure;
  task.done = (options === undefined ? without(part, task) : train(part, task, options))
    .catch((error: unknown) => {
      const { reason } = controller.signal;
      if (!task.settled) giveUp(part, assign, reason instanceof FedflatError ? reason : error);
      if (error instanceof ConfigError && error.code === "worker-unusable") {
        // Every assignment would end with the same error.
        part.unable = error;
        part.connection.close("no worker can start");
      }
    })
    .finally(() => {
      part.task = undefined;
      part.workers.update({ working: false });
      checkAvailability(part);
    });
}

/** Ends the task without telling the aggregator. */
export function withdraw({ task }: Participation): void {
  if (task === undefined) return;
  task.settled = true;
  task.controller.abort();
}

/**
 * Checks an assignment before its model is here. Returns the options of a training task, and
 * nothing for other tasks.
 * @throws Declined
 */
function optionsOf(part: Participation, assign: Assign): TrainOptions | undefined {
  const { fits, options, stopped } = part;
  const { task, model } = assign;
  const decline = (code: string, expected: string, got: string): never => {
    throw new Declined(code, `"${code}" expected ${expected}, got ${got}`);
  };
  if (fits instanceof DataError) throw new Declined("data", fits.message);
  const available = availabilityOf(options);
  if (part.task !== undefined || stopped.aborted) decline("busy", "a free client", "one at work");
  if (available !== true) decline("busy", "a free client", available);
  if (!["train", "evaluate", "statistics"].includes(task))
    decline("task", "train, evaluate or statistics", task);
  const { secureOnly = 0 } = options;
  if (task === "statistics" && secureOnly > 0)
    decline("task", "none that shows this client's inputs by themselves", task);
  part.models.checkSize(model);
  if (task !== "train") return undefined;
  requireNew(part, assign);
  try {
    codecSettings(codecNamed(assign.codec), assign.codecSettings);
    const agreed = agreedIn(assign);
    // On a ring it sees its neighbours alone, and cannot count the others when they come.
    const most = agreed?.terms.ring ? agreed.terms.clients : agreed ? mostClients(agreed.terms) : 0;
    if (most < secureOnly)
      decline("settings", `a secure round of at least ${secureOnly} clients`, `one of ${most}`);
    const given = agreed ? { ...agreed.terms.training, seed: assign.settings["seed"] } : undefined;
    const settings = readTrainSettings(given ?? assign.settings);
    const algorithm = algorithmNamed(settings.algorithm, options.algorithms);
    return { settings, algorithm, codec: assign, agreed };
  } catch (error) {
    if (error instanceof Declined) throw error;
    if (error instanceof ModelError)
      throw new Declined(error.code.startsWith("codec") ? "codec" : "algorithm", error.message);
    throw new Declined("settings", (error as Error).message);
  }
}

/** @throws FedflatError `entered` where an earlier life of this client began the same secure attempt */
function requireNew({ session }: Participation, { settings, round, attempt }: Assign): void {
  const isSecure = typeof settings["secure"] === "string";
  if (isSecure && session!.records.record.entered.includes(`${round}/${attempt}`))
    throw new FedflatError("entered", "the secrets of this attempt are gone");
}

/** Says that an assignment is declined or has failed. */
function giveUp(part: Participation, assign: Assign, error: unknown): void {
  const { assignment } = assign;
  const declined = error instanceof Declined;
  const failed = part.stopped.aborted ? "stopped" : failureCode(error);
  const code = declined ? error.code : failed;
  const message = errorOf(error).message.slice(0, 1000);
  const type = declined ? "decline" : "failed";
  const sent = part.connection.tell({ type, assignment, code, message });
  // An aggregator that was not told gives the assignment again.
  if (sent) inBackground(part, part.halfTrained.drop(assignment));
  const what = declined ? "declined" : "failed";
  part.events.emit("assignment", { ...aboutOf(assign), what, code, message });
}
