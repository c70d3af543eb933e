import { FedflatError } from "../errors.js";
import { networkOf } from "../models/network.js";
import { release } from "../tensors/memory.js";
import type { Layout } from "../tensors/layout.js";
import type { Snapshot } from "../training/job.js";
import type { Progress } from "../training/local-round.js";
import { updateForm, workName } from "../training/transmission.js";
import { engineBuild } from "../wasm/engine-build.js";
import { checkMemory, trainAssignment, type TrainTask } from "./assignment.js";
import { aboutOf, inBackground, type Participation, type Task } from "./context.js";
import { errorOf } from "./events.js";
import { dataIdentity, type WorkIdentity } from "./half-trained.js";
import { offer } from "./offers.js";
import { withPersonal } from "./personal.js";
import { enterSecure, type Agreed } from "./secure-round.js";
import { examplesFor, modelOf } from "./task-inputs.js";

const PROGRESS_MS = 1000;

/** What a training task is done with. */
export type TrainOptions = Pick<TrainTask, "settings" | "algorithm" | "codec"> & {
  /** The terms of a secure round. */
  readonly agreed?: Agreed | undefined;
};

/** Trains a round, keeps the update and offers it. */
export async function train(
  participation: Participation,
  task: Task,
  given: TrainOptions,
): Promise<void> {
  const { timeLimit, options, halfTrained, workers, events } = participation;
  const { assign, controller } = task;
  const { assignment, round, attempt } = assign;
  const { settings, algorithm } = given;
  const { records, run } = participation.session!;
  const loaded = await modelOf(participation, task);
  const spare = checkMemory(loaded, settings, algorithm, options.limits?.memoryBytes);
  const part = await examplesFor(participation, task, loaded.model, "train");
  participation.noteScale(part.dataset, loaded.model);
  const passes = ((settings.headEpochs ?? 0) + settings.localEpochs) * part.rows.length;
  timeLimit.check(passes);
  const state = await records.state();
  const base = { ...loaded, model: await withPersonal(loaded.model, async () => state, true) };
  const stateHash = records.record.state?.sha256 ?? "";
  let known: Promise<WorkIdentity> | undefined;
  const identity = () =>
    (known ??= dataIdentity(part).then((data) => ({
      assignment,
      model: base.model.sha256,
      settings: JSON.stringify(settings),
      state: stateHash,
      build: engineBuild(),
      data,
    })));
  const { layout } = networkOf(base.model.description).shares.moving;
  const from = await halfDone(participation, task, identity, layout);
  const stopTimer = timeLimit.start(passes, from?.seconds ?? 0, controller);
  const finished = await trainAssignment(
    workers.trainer(),
    { ...given, assignment, work: workName(run, round, attempt), base, part, state, spare, from },
    {
      signal: controller.signal,
      onProgress: reporterOf(participation, task),
      onSnapshot: keeperOf(participation, task, identity, layout),
    },
  ).finally(stopTimer);
  if (task.settled) return;
  const { offer: message, update } = finished;
  if (given.agreed !== undefined) {
    const vectors = numbersOf(
      update,
      given,
      networkOf(base.model.description).shares.shared.layout,
    );
    release(update.buffer);
    await enterSecure(participation, assign, given.agreed, vectors, message.samples);
    inBackground(participation, halfTrained.drop(assignment));
    task.settled = true;
    return;
  }
  const keep = () => records.keep({ round, offer: message }, update, finished.state);
  await keep().catch(async (error: unknown) => {
    // Without the half-trained round there may be room on the disk.
    if (!(await halfTrained.drop(assignment))) throw error;
    await keep();
  });
  inBackground(participation, halfTrained.drop(assignment));
  // Refused while it was written: the drop ran before the keep.
  if (task.settled) return records.drop(assignment);
  task.settled = true;
  offer(participation, message, update);
  events.emit("assignment", { ...aboutOf(assign), what: "offered" });
}

/** The numbers of an update, one vector behind the other. */
function numbersOf(
  update: Uint8Array,
  { algorithm: { client }, codec }: TrainOptions,
  layout: Layout,
): Float32Array {
  const vectors = updateForm(client, codec, layout).decode(update, {});
  const numbers = new Float32Array(layout.size * client.sends.length);
  client.sends.forEach((name, i) => numbers.set(vectors[name], i * layout.size));
  return numbers;
}

/** Where an earlier life of this client was cut in the same work. */
async function halfDone(
  { halfTrained, events }: Participation,
  { assign }: Task,
  identity: () => Promise<WorkIdentity>,
  layout: Layout,
): Promise<Snapshot | undefined> {
  const { snapshot, dropped } = await halfTrained.find(identity, layout);
  const about = aboutOf(assign);
  if (dropped !== undefined) events.emit("assignment", { ...about, what: "dropped", ...dropped });
  if (snapshot !== undefined) {
    const message = `${snapshot.batch} batches are done`;
    events.emit("assignment", { ...about, what: "resumed", message });
  }
  return snapshot;
}

/** Keeps the snapshots of a training. A failure costs the snapshot, never the round. */
function keeperOf(
  { halfTrained, events }: Participation,
  task: Task,
  identity: () => Promise<WorkIdentity>,
  layout: Layout,
) {
  let reported = false;
  return async (snapshot: Snapshot): Promise<void> => {
    try {
      if (!task.settled) await halfTrained.keep(await identity(), layout, snapshot);
    } catch (error) {
      const why = `cannot save the half-trained round: ${errorOf(error).message}; training continues`;
      if (!reported) events.problem(new FedflatError("snapshot", why));
      reported = true;
    }
    release(snapshot.weights.buffer);
  };
}

/** Tells the host of every progress, the aggregator of one a second. */
function reporterOf({ events, connection }: Participation, task: Task) {
  const { assignment, round } = task.assign;
  let sent = -Infinity;
  // The loss of one client is nobody's business where only a sum is.
  const isSecure = "secure" in task.assign.settings;
  return (progress: Progress) => {
    // The worker hears a batch later that the task is settled.
    if (task.settled) return;
    events.emit("progress", { round, ...progress });
    const now = performance.now();
    if (isSecure || now - sent < PROGRESS_MS) return;
    sent = now;
    const { epoch, batch, batches, loss } = progress;
    connection.tell({ type: "progress", assignment, epoch, batch, batches, loss });
  };
}
