import { BUILT_IN } from "../algorithms/built-in.js";
import { CODECS } from "../codecs/built-in.js";
import type { Introduction, Told } from "../connection/connection.js";
import { sha256 } from "../connection/hash.js";
import { LAYER_KINDS } from "../models/description.js";
import { MOST_PENDING } from "../protocol/fields.js";
import type { ServerMessageOf } from "../protocol/server-messages.js";
import { engineBuild } from "../wasm/engine-build.js";
import { checkExamples } from "./availability.js";
import { aboutOf, inBackground, type About, type Participation } from "./context.js";
import { forgetOffer, offerPending } from "./offers.js";
import { openRecords, rememberRun } from "./records.js";
import { answerPhase, leaveSecure } from "./secure-round.js";
import { assigned, withdraw } from "./task.js";

/** Milliseconds without a connection after the store could not be written. */
const RETRY_MS = 30_000;

/** What the client says of itself, and of what it has of this run. */
export async function introduce(
  part: Participation,
  run: string | undefined,
): Promise<Introduction> {
  const { offered, store, task, options, examples } = part;
  if (run !== undefined && part.session?.run !== run) {
    offered.clear();
    part.session = { run, records: await openRecords(store, run) };
  }
  // What was settled on the connection before may still be on its way to the disk.
  await part.session?.records.idle();
  const record = part.session?.records.record;
  const pending: { assignment: string; sha256?: string }[] = (record?.pending ?? []).map(
    ({ offer: { assignment, sha256 } }) => ({ assignment, sha256 }),
  );
  if (task?.settled === false) pending.push({ assignment: task.assign.assignment });
  if (part.secure) pending.push({ assignment: part.secure.about.assignment });
  return {
    capabilities: {
      algorithms: [...BUILT_IN, ...(options.algorithms ?? [])].map(({ name }) => name),
      layers: Object.keys(LAYER_KINDS),
      codecs: Object.keys(CODECS),
      models: ["float32", "float16", "int8"],
      build: engineBuild(),
      secure: true,
    },
    samples: examples.training ?? record?.samples,
    counted: record?.counted,
    pending: pending.slice(-MOST_PENDING),
    agent: "fedflat/0.1.0",
  };
}

export function welcomed(part: Participation, welcome: ServerMessageOf<"welcome">): void {
  const { run, lastCounted, round, model } = welcome;
  part.events.emit("line", { up: true });
  const { records } = part.session!;
  const { counted, pending } = records.record;
  const last = lastCounted?.assignment;
  const secure = part.secure?.about.assignment;
  // It may not have been heard.
  if (secure && secure !== last) part.connection.tell({ type: "trained", assignment: secure });
  if (lastCounted && (last === secure || pending.some(({ offer }) => offer.assignment === last))) {
    part.connection.settle(lastCounted.assignment);
    committed(part, lastCounted.assignment, lastCounted.round);
  } else if (last !== counted?.assignment) {
    inBackground(part, records.reset(lastCounted));
  }
  inBackground(part, rememberRun(part.store, run));
  inBackground(part, checkExamples(part, model, round));
  inBackground(part, offerPending(part));
  // Before the first commit there is a model to begin with, but no committed one.
  if (model !== null && round > 1) inBackground(part, part.predictor.announced(round - 1, model));
}

export function received(part: Participation, message: Told): void {
  const { events, predictor } = part;
  switch (message.type) {
    case "assign":
      return assigned(part, message);
    case "keys":
    case "shares":
    case "masked":
    case "verify":
    case "unmask":
      return answerPhase(part, message);
    case "received":
      return events.emit("assignment", {
        ...taskOf(part, message.assignment),
        what: "received",
      });
    case "committed":
      committed(part, message.assignment, message.round);
      return inBackground(part, predictor.announced(message.round, message.model));
    case "refused":
      return refused(part, message);
    case "model":
      return inBackground(part, predictor.announced(message.round, message.model));
    case "wait":
      return events.emit("wait", { reason: message.reason });
    case "finished":
      return inBackground(part, finish(part, message));
  }
}

/** An update of ours is in the model. */
function committed(part: Participation, assignment: string, round: number): void {
  const { records } = part.session!;
  const masked = part.secure?.about.assignment === assignment && part.offered.get(assignment);
  leaveSecure(part, assignment);
  if (masked)
    inBackground(
      part,
      sha256(masked.slice()).then((hash) => records.count({ round, assignment, sha256: hash })),
    );
  forgetOffer(part, assignment);
  records.commit(assignment, round).catch((error: unknown) => {
    // The aggregator has counted an update whose state could not be written here. Until it is,
    // nothing may be trained: the next welcome says so again.
    withdraw(part);
    part.events.problem(error);
    part.connection.redial("the state could not be written", RETRY_MS);
  });
  part.events.emit("assignment", { assignment, round, task: "train", what: "committed" });
}

function refused(part: Participation, refusal: ServerMessageOf<"refused">): void {
  const { assignment, code, message, retryAfter } = refusal;
  if (retryAfter !== null) return;
  const about = taskOf(part, assignment);
  if (part.task?.assign.assignment === assignment) withdraw(part);
  leaveSecure(part, assignment);
  forgetOffer(part, assignment);
  inBackground(part, part.session!.records.drop(assignment));
  inBackground(part, part.halfTrained.drop(assignment));
  part.events.emit("assignment", {
    ...about,
    what: "refused",
    code,
    message: message ?? undefined,
  });
}

/** What events say of an assignment that is under way, or whose update or report was sent. */
function taskOf({ task, reported, session }: Participation, assignment: string): About {
  if (task?.assign.assignment === assignment) return aboutOf(task.assign);
  if (reported?.assignment === assignment) return reported;
  const update = session?.records.record.pending.find(
    ({ offer }) => offer.assignment === assignment,
  );
  return update ? { assignment, round: update.round, task: "train" } : { assignment };
}

async function finish(
  part: Participation,
  { model, reason }: ServerMessageOf<"finished">,
): Promise<void> {
  withdraw(part);
  inBackground(part, part.halfTrained.drop());
  try {
    if (model !== null) await part.predictor.last(model);
  } finally {
    part.connection.close(reason);
  }
}
