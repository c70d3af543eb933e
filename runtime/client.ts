import type { Algorithm } from "./algorithms/algorithm.js";
import { algorithmNamed, BUILT_IN } from "./algorithms/built-in.js";
import { release } from "./tensors/memory.js";
import {
  checkMemory,
  failureCode,
  readable,
  trainAssignment,
  type TrainTask,
} from "./client/assignment.js";
import { Declined } from "./client/declined.js";
import { examplesOf, flat, type LocalExamples } from "./client/examples.js";
import {
  dataIdentity,
  halfTrainedIn,
  type HalfTrained,
  type WorkIdentity,
} from "./client/half-trained.js";
import { modelShelf, type Loaded } from "./client/model-cache.js";
import type {
  ClientEvents,
  ClientOptions,
  CommittedModel,
  Inputs,
  Outcome,
  Prediction,
} from "./client/options.js";
import { predictionsOf } from "./client/prediction.js";
import {
  knownRuns,
  openRecords,
  rememberRun,
  removeOrphans,
  type Records,
} from "./client/records.js";
import { codecNamed, CODECS } from "./codecs/built-in.js";
import {
  Connection,
  type EndReason,
  type Introduction,
  type Told,
} from "./connection/connection.js";
import { sha256 } from "./connection/hash.js";
import type { Dataset, Part } from "./data/dataset.js";
import { scaleRemark } from "./data/scale.js";
import { ConfigError, DataError, FedflatError, ModelError, ProtocolError } from "./errors.js";
import { LAYER_KINDS } from "./models/description.js";
import { expectedBy, type ModelCard } from "./models/model.js";
import type { Layout } from "./tensors/layout.js";
import type { Platform, StateStore } from "./platform/platform.js";
import {
  MOST_PENDING,
  type BlobName,
  type OutgoingClientMessage,
  type ServerMessageOf,
} from "./protocol/messages.js";
import { readTrainSettings } from "./protocol/settings.js";
import { HOLD_OUT } from "./training/batches.js";
import type { Snapshot, Trainer } from "./training/job.js";
import type { Progress } from "./training/local-round.js";
import { trainerOf } from "./training/trainer.js";
import { engineBuild } from "./wasm/engine-build.js";

export type * from "./client/options.js";

/** What a training task is done with. */
type TrainOptions = Pick<TrainTask, "settings" | "algorithm" | "codec">;

/** An assignment in hand. */
interface Work {
  readonly assign: ServerMessageOf<"assign">;
  readonly controller: AbortController;
  /**
   * Void: it is answered, or the aggregator has taken it back; nothing more is to be said about it.
   */
  void: boolean;
  done: Promise<void>;
}

const AVAILABILITY_MS = 5000;
/** After the store could not be written. */
const RETRY_MS = 30_000;
const PROGRESS_MS = 1000;

/**
 * A device's part in a federation: joins a run, trains when asked, keeps what it has finished until
 * it is committed, and reconnects until the run ends or `stop` is called. The package's entries
 * bind it to Node and to the browser.
 */
export class FederatedClient {
  readonly #options: ClientOptions;
  readonly #platform: Platform;
  readonly #listeners = new Map<string, Set<(event: never) => void>>();
  #running?: Promise<Outcome>;
  #stopping = false;
  #connection?: Connection;
  #store?: StateStore;
  #halfTrained?: HalfTrained;
  #session?: { readonly run: string; readonly records: Records };
  /** Assignments whose offer the connection repeats. */
  #offered = new Map<string, Uint8Array | undefined>();
  #work?: Work;
  /** The newest evaluation that was reported: the answer to it names its assignment only. */
  #reported?: Pick<ClientEvents["assignment"], "assignment" | "round" | "task">;
  #trainer?: Trainer;
  /** For predictions while the other trains a round. */
  #predictor?: Trainer;
  /** Predictions under way, which the end of a run must not cut off. */
  #predicting = 0;
  #examples?: LocalExamples;
  /** Why this client can go on no longer, whatever the aggregator does. */
  #unable?: ConfigError;
  /** Whether the examples may fit the run's model; `undefined` until that has been looked at. */
  #fits: true | DataError | undefined;
  #checking = false;
  /** The host has been told of inputs far from unit scale. */
  #scaleSaid = false;
  /** Sample passes that took longer than the limit. */
  #tooMany = Infinity;
  #newest?: { readonly round?: number; readonly blob: BlobName };
  readonly #models: ReturnType<typeof modelShelf>;
  #committed?: CommittedModel;

  /** @throws ConfigError `url`, `hold-out` */
  constructor(options: ClientOptions, platform: Platform) {
    const { url, holdOut: share = HOLD_OUT } = options;
    let protocol = "";
    try {
      protocol = new URL(url).protocol;
    } catch {
      // Said below.
    }
    if (protocol !== "ws:" && protocol !== "wss:")
      throw new ConfigError(
        "url",
        `"url" expected an address that begins with ws:// or wss://, got ${url}`,
      );
    if (!(share >= 0 && share < 1))
      throw new ConfigError(
        "hold-out",
        `"holdOut" expected a share from 0 to below 1, got ${share}`,
      );
    this.#options = options;
    this.#platform = platform;
    this.#models = modelShelf(async (blob, sink, cut) => {
      if (this.#connection === undefined)
        throw new ProtocolError("cancelled", `"run" expected to be under way`);
      await this.#connection.fetch(blob, sink, cut?.signal, cut?.window);
    }, options.limits?.modelBytes);
  }

  /** Calls `listener` on each such event; the function returned ends that. */
  on<E extends keyof ClientEvents>(
    event: E,
    listener: (event: ClientEvents[E]) => void,
  ): () => void {
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  /**
   * Takes part until the run ends, `stop` is called, or the aggregator sends the client away.
   * @throws ConfigError `running`, `state-locked`, `state-unusable`, `key-unreadable`,
   * `worker-unusable`
   */
  run(): Promise<Outcome> {
    if (this.#running !== undefined)
      return Promise.reject(
        new ConfigError("running", `"run" expected an idle client, got one that runs`),
      );
    this.#stopping = false;
    this.#unable = undefined;
    this.#running = this.#takePart().finally(() => {
      this.#running = undefined;
      this.#freeTrainers();
    });
    return this.#running;
  }

  /**
   * Leaves the run: training ends at the next batch, with `force` at once. Finished updates stay in
   * the store, and are offered again by the next `run`. Resolves when `run` has.
   */
  async stop({ force = false }: { force?: boolean } = {}): Promise<void> {
    const running = this.#running;
    if (running === undefined) return;
    this.#stopping = true;
    this.#work?.controller.abort();
    if (force && this.#options.trainer === undefined) this.#trainer?.close();
    if (!force) await this.#work?.done;
    this.#connection?.close("stopped");
    await running.catch(() => {});
  }

  /**
   * Predicts with the newest committed model; `x` as in `data`, one or more examples. A round that is being trained goes on
   * beside it, in another worker.
   * @throws ModelError `no-model` before the first one is known, `shape`
   */
  async predict(x: Inputs): Promise<Prediction[]> {
    if (this.#newest && this.#newest.blob.sha256 !== this.#committed?.sha256)
      await this.#fetchNewest();
    const model = this.#committed;
    if (model === undefined)
      throw new ModelError("no-model", `"predict" expected a committed model, got none yet`);
    const { description, weights, normalisation, classes } = model;
    const inputs = flat(x);
    const trainer = this.#work === undefined ? this.#useTrainer() : this.#usePredictor();
    this.#predicting++;
    try {
      const logits = await trainer.predict({
        description,
        weights,
        normalisation,
        inputs,
      });
      return predictionsOf(logits, classes);
    } finally {
      this.#predicting--;
      this.#freeTrainers();
    }
  }

  async #takePart(): Promise<Outcome> {
    const { url, state, token, tls, patience, data } = this.#options;
    const store = await this.#platform.openState(state);
    let poll: ReturnType<typeof setInterval> | undefined;
    try {
      this.#store = store;
      this.#halfTrained = halfTrainedIn(store);
      const identity = await this.#platform.identity(store);
      this.#examples = examplesOf(
        data,
        this.#options.holdOut ?? HOLD_OUT,
        await sha256(identity.publicKey.slice()),
      );
      this.#fits = undefined;
      await removeOrphans(store);
      const [run] = await knownRuns(store);
      const { reason, message } = await new Promise<{
        reason: EndReason;
        message: string;
      }>((resolve) => {
        if (this.#stopping) return resolve({ reason: "closed", message: "" });
        this.#connection = new Connection({
          url,
          openSocket: this.#platform.openSocket,
          socket: { tls },
          identity,
          token,
          run,
          patience,
          introduce: (run) => this.#introduce(run),
          events: {
            welcome: (welcome) => this.#welcomed(welcome),
            message: (message) => this.#told(message),
            problem: (error) => this.#emit("problem", error),
            lost: (reason, retryIn) => this.#emit("line", { up: false, reason, retryIn }),
            ended: (reason, message) => resolve({ reason, message }),
          },
        });
        this.#checkAvailability();
        poll = setInterval(() => this.#checkAvailability(), AVAILABILITY_MS);
        this.#connection.start();
      });
      if (this.#unable !== undefined) throw this.#unable;
      return {
        reason: reason === "closed" ? "stopped" : reason,
        message,
        model: this.#committed,
      };
    } finally {
      clearInterval(poll);
      this.#void();
      if (this.#predicting === 0) this.#closeTrainer();
      await this.#work?.done;
      await this.#session?.records.idle();
      await this.#halfTrained?.idle();
      this.#connection = undefined;
      this.#session = undefined;
      this.#offered.clear();
      this.#halfTrained = undefined;
      this.#store = undefined;
      await store.close();
    }
  }

  // The line.

  async #introduce(run: string | undefined): Promise<Introduction> {
    if (run !== undefined && this.#session?.run !== run) {
      this.#offered.clear();
      this.#session = { run, records: await openRecords(this.#store!, run) };
    }
    // What was settled on the line before may still be on its way to the disk.
    await this.#session?.records.idle();
    const record = this.#session?.records.record;
    const pending: { assignment: string; sha256?: string }[] = (record?.pending ?? []).map(
      ({ offer: { assignment, sha256 } }) => ({ assignment, sha256 }),
    );
    if (this.#work !== undefined && !this.#work.void)
      pending.push({ assignment: this.#work.assign.assignment });
    const { algorithms = [] } = this.#options;
    return {
      capabilities: {
        algorithms: [...BUILT_IN, ...algorithms].map(({ name }) => name),
        layers: Object.keys(LAYER_KINDS),
        codecs: Object.keys(CODECS),
        build: engineBuild(),
      },
      samples: this.#examples?.training ?? record?.samples,
      counted: record?.counted,
      pending: pending.slice(-MOST_PENDING),
      agent: "fedflat/0.1.0",
    };
  }

  #welcomed({ run, lastCounted, round, model }: ServerMessageOf<"welcome">): void {
    this.#emit("line", { up: true });
    const { records } = this.#session!;
    const { counted, pending } = records.record;
    const last = lastCounted?.assignment;
    if (lastCounted && pending.some(({ offer }) => offer.assignment === last)) {
      this.#connection!.settle(lastCounted.assignment);
      this.#settled(lastCounted.assignment, lastCounted.round);
    } else if (last !== counted?.assignment) {
      this.#inBackground(records.reset(lastCounted));
    }
    this.#inBackground(rememberRun(this.#store!, run));
    this.#inBackground(this.#checkExamples(model));
    this.#inBackground(this.#offerPending(records));
    // Before the first commit there is a model to begin with, but no committed one.
    if (model !== null && round > 1) this.#news(round - 1, model);
  }

  /**
   * Offers what an earlier life of this client finished; what this one offered the connection
   * repeats.
   */
  async #offerPending(records: Records): Promise<void> {
    for (const { offer } of records.record.pending) {
      if (this.#offered.has(offer.assignment)) continue;
      this.#offered.set(offer.assignment, undefined);
      const update = await records.update(offer.assignment);
      // None where it has been settled meanwhile.
      if (update !== undefined) this.#offer(offer, update);
    }
  }

  #offer(offer: Extract<OutgoingClientMessage, { type: "offer" }>, update: Uint8Array): void {
    this.#offered.set(offer.assignment, update);
    this.#connection?.offer(offer, (offset, length) => update.subarray(offset, offset + length));
  }

  /** An offer that is settled: its bytes are needed no more. */
  #forget(assignment: string): void {
    const update = this.#offered.get(assignment);
    this.#offered.delete(assignment);
    if (update !== undefined) release(update.buffer);
  }

  #told(message: Told): void {
    switch (message.type) {
      case "assign":
        return this.#assigned(message);
      case "received":
        return this.#emit("assignment", {
          ...this.#workOf(message.assignment),
          what: "received",
        });
      case "committed":
        this.#settled(message.assignment, message.round);
        return this.#news(message.round, message.model);
      case "refused":
        return this.#refused(message);
      case "model":
        return this.#news(message.round, message.model);
      case "wait":
        return this.#emit("wait", { reason: message.reason });
      case "finished":
        return this.#inBackground(this.#finish(message));
    }
  }

  #settled(assignment: string, round: number): void {
    const { records } = this.#session!;
    this.#forget(assignment);
    records.commit(assignment, round).catch((error: unknown) => {
      // The aggregator has counted an update whose state could not be written here. Until it is,
      // nothing may be trained: the next welcome says so again.
      this.#void();
      this.#emit("problem", errorOf(error));
      this.#connection?.redial("the state could not be written", RETRY_MS);
    });
    this.#emit("assignment", { assignment, round, task: "train", what: "committed" });
  }

  #refused({ assignment, code, message, retryAfter }: ServerMessageOf<"refused">): void {
    if (retryAfter !== null) return;
    const event = this.#workOf(assignment);
    if (this.#work?.assign.assignment === assignment) this.#void();
    this.#forget(assignment);
    this.#inBackground(this.#session!.records.drop(assignment));
    this.#inBackground(this.#halfTrained!.drop(assignment));
    this.#emit("assignment", {
      ...event,
      what: "refused",
      code,
      message: message ?? undefined,
    });
  }

  /** What events say of an assignment that is in hand, or whose update or report was sent. */
  #workOf(assignment: string): Pick<ClientEvents["assignment"], "assignment" | "round" | "task"> {
    const { assign } = this.#work ?? {};
    if (assign?.assignment === assignment)
      return { assignment, round: assign.round, task: assign.task };
    if (this.#reported?.assignment === assignment) return this.#reported;
    const { pending = [] } = this.#session?.records.record ?? {};
    const update = pending.find(({ offer }) => offer.assignment === assignment);
    return update ? { assignment, round: update.round, task: "train" } : { assignment };
  }

  async #finish({ model, reason }: ServerMessageOf<"finished">): Promise<void> {
    this.#void();
    this.#inBackground(this.#halfTrained!.drop());
    try {
      if (model !== null) {
        if (this.#newest?.blob.sha256 !== model.sha256) this.#newest = { blob: model };
        await this.#fetchNewest();
      }
    } finally {
      this.#connection?.close(reason);
    }
  }

  // Models.

  #news(round: number, blob: BlobName): void {
    this.#newest = { round, blob };
    const { size } = this.#listeners.get("model") ?? new Set();
    if (size > 0 && blob.sha256 !== this.#committed?.sha256)
      this.#inBackground(this.#fetchNewest());
  }

  async #fetchNewest(): Promise<void> {
    const { blob, round } = this.#newest!;
    const { model } = await this.#models.load(blob);
    if (this.#newest?.blob.sha256 !== blob.sha256 || this.#committed?.sha256 === blob.sha256)
      return;
    this.#committed = { ...model, round };
    this.#emit("model", this.#committed);
  }

  /**
   * Makes sure, before the client says that it is ready, that examples which never change fit the
   * model: those that do not are said once, and are not tried.
   */
  async #checkExamples(blob: BlobName | null): Promise<void> {
    const { check } = this.#examples!;
    if (check === undefined || blob === null) {
      this.#fits ??= true;
      return this.#checkAvailability();
    }
    if (this.#fits !== undefined || this.#checking) return;
    this.#checking = true;
    try {
      const card = await this.#models.card(blob);
      this.#lookAtScale(check(expectedBy(card)).dataset, card);
    } catch (error) {
      // What is wrong with the model is said where there is an assignment to decline.
      if (error instanceof DataError) this.#misfit(error);
    } finally {
      this.#checking = false;
      this.#fits ??= true;
      this.#checkAvailability();
    }
  }

  #misfit(error: DataError): void {
    this.#fits = error;
    this.#emit("problem", error);
    this.#checkAvailability();
  }

  #lookAtScale(dataset: Dataset, { normalisation }: Pick<ModelCard, "normalisation">): void {
    const { size } = this.#listeners.get("notice") ?? new Set();
    if (size === 0 || this.#scaleSaid || normalisation !== undefined) return;
    const message = scaleRemark(dataset);
    if (message === undefined) return;
    this.#scaleSaid = true;
    this.#emit("notice", { message });
  }

  // Assignments.

  #assigned(assign: ServerMessageOf<"assign">): void {
    const { assignment, round } = assign;
    const connection = this.#connection!;
    if (this.#work?.void) {
      // The work before is answered or taken back, but has not let go of the trainer yet.
      this.#inBackground(this.#work.done.then(() => this.#assigned(assign)));
      return;
    }
    if (this.#work?.assign.assignment === assignment) {
      connection.tell({ type: "accept", assignment });
      return;
    }
    if (connection.repeat(assignment)) return;
    // Finished in an earlier life: its offer is on its way from the store.
    const { pending } = this.#session!.records.record;
    if (pending.some(({ offer }) => offer.assignment === assignment)) return;
    let given: TrainOptions | undefined;
    try {
      given = this.#check(assign);
    } catch (error) {
      return this.#giveUp(assign, error);
    }
    connection.tell({ type: "accept", assignment });
    this.#emit("assignment", { assignment, round, task: assign.task, what: "accepted" });
    const controller = new AbortController();
    const work: Work = {
      assign,
      controller,
      void: false,
      done: Promise.resolve(),
    };
    this.#work = work;
    work.done = (given === undefined ? this.#evaluate(work) : this.#train(work, given))
      .catch((error: unknown) => {
        const { reason } = controller.signal;
        if (!work.void) this.#giveUp(assign, reason instanceof FedflatError ? reason : error);
        if (error instanceof ConfigError && error.code === "worker-unusable") this.#leave(error);
      })
      .finally(() => {
        this.#work = undefined;
        this.#freeTrainers();
        this.#checkAvailability();
      });
  }

  /** Ends the work in hand without a word to the aggregator. */
  #void(): void {
    if (this.#work === undefined) return;
    this.#work.void = true;
    this.#work.controller.abort();
  }

  /**
   * What can be told before the model is here. What a training task is to be done with, nothing for
   * an evaluation.
   */
  #check(assign: ServerMessageOf<"assign">): TrainOptions | undefined {
    const { task, model } = assign;
    const decline = (code: string, expected: string, got: string): never => {
      throw new Declined(code, `"${code}" expected ${expected}, got ${got}`);
    };
    if (this.#fits instanceof DataError) throw new Declined("data", this.#fits.message);
    const available = this.#available();
    if (this.#work !== undefined || this.#stopping) decline("busy", "a free client", "one at work");
    if (available !== true) decline("busy", "a free client", available);
    if (task !== "train" && task !== "evaluate") decline("task", "train or evaluate", task);
    this.#models.checkSize(model);
    if (task === "evaluate") return undefined;
    try {
      const codec = codecNamed(assign.codec);
      const settings = readTrainSettings(assign.settings);
      return { settings, algorithm: this.#algorithm(settings.algorithm), codec };
    } catch (error) {
      if (error instanceof ModelError)
        throw new Declined(error.code === "codec" ? "codec" : "algorithm", error.message);
      throw new Declined("settings", (error as Error).message);
    }
  }

  async #train(work: Work, { settings, algorithm, codec }: TrainOptions): Promise<void> {
    const { assignment, round } = work.assign;
    const { records } = this.#session!;
    const { memoryBytes, seconds = Infinity } = this.#options.limits ?? {};
    const base = await this.#base(work);
    checkMemory(base, settings, algorithm, memoryBytes);
    const { train } = await this.#split(work, base);
    if (train.rows.length === 0)
      throw new Declined("data", `"data" expected an example to train on`);
    const passes = settings.localEpochs * train.rows.length;
    if (passes >= this.#tooMany)
      throw new Declined(
        "seconds",
        `"seconds" expected at most ${seconds}, which ${passes} sample passes took longer than before`,
      );
    const late = () => {
      this.#tooMany = passes;
      work.controller.abort(
        new FedflatError("seconds", `"training" expected at most ${seconds} s, got more`),
      );
    };
    const state = await records.state();
    const stateHash = records.record.state?.sha256 ?? "";
    let identity: Promise<WorkIdentity> | undefined;
    const identified = () =>
      (identity ??= (async () => ({
        assignment,
        model: base.model.sha256,
        settings: JSON.stringify(settings),
        state: stateHash,
        build: engineBuild(),
        data: await dataIdentity(train),
      }))());
    const { layout } = base.model;
    const from = await this.#halfDone(work, identified, layout);
    const task = {
      assignment,
      settings,
      algorithm,
      codec,
      base,
      part: train,
      state,
      from,
    };
    const timer =
      seconds < Infinity ? setTimeout(late, 1000 * (seconds - (from?.seconds ?? 0))) : undefined;
    const finished = await trainAssignment(this.#useTrainer(), task, {
      signal: work.controller.signal,
      onProgress: this.#progressOf(work),
      onSnapshot: this.#keeperOf(work, identified, layout),
    }).finally(() => clearTimeout(timer));
    if (work.void) return;
    const { offer, update } = finished;
    const keep = () => records.keep({ round, offer }, update, finished.state);
    await keep().catch(async (error: unknown) => {
      // Without the half-trained round there may be room on the disk.
      if (!(await this.#halfTrained!.drop(assignment))) throw error;
      await keep();
    });
    this.#inBackground(this.#halfTrained!.drop(assignment));
    // Refused while it was written: the drop ran before the keep.
    if (work.void) return records.drop(assignment);
    work.void = true;
    this.#offer(offer, update);
    this.#emit("assignment", { assignment, round, task: "train", what: "offered" });
  }

  /** Where an earlier life of this client was cut in the same work. */
  async #halfDone(
    { assign: { assignment, round } }: Work,
    identified: () => Promise<WorkIdentity>,
    layout: Layout,
  ): Promise<Snapshot | undefined> {
    const { snapshot, dropped } = await this.#halfTrained!.find(identified, layout);
    const event = { assignment, round, task: "train" };
    if (dropped !== undefined) this.#emit("assignment", { ...event, what: "dropped", ...dropped });
    if (snapshot !== undefined)
      this.#emit("assignment", {
        ...event,
        what: "resumed",
        message: `${snapshot.batch} batches are done`,
      });
    return snapshot;
  }

  /**
   * Keeps the snapshots of a training. What goes wrong with that costs the snapshot, never the
   * round.
   */
  #keeperOf(work: Work, identified: () => Promise<WorkIdentity>, layout: Layout) {
    let told = false;
    return async (snapshot: Snapshot): Promise<void> => {
      try {
        if (!work.void) await this.#halfTrained!.keep(await identified(), layout, snapshot);
      } catch (error) {
        if (!told)
          this.#emit(
            "problem",
            new FedflatError(
              "snapshot",
              `"half-trained round" expected to be kept on disk, got ${errorOf(error).message}; training goes on`,
            ),
          );
        told = true;
      }
      release(snapshot.weights.buffer);
    };
  }

  /** Tells the host of every progress, the aggregator of one a second. */
  #progressOf(work: Work) {
    const { assignment, round } = work.assign;
    let told = -Infinity;
    return (progress: Progress) => {
      // The worker hears a batch later that the work is void.
      if (work.void) return;
      this.#emit("progress", { round, ...progress });
      const now = performance.now();
      if (now - told < PROGRESS_MS) return;
      told = now;
      const { epoch, batch, batches, loss } = progress;
      this.#connection?.tell({
        type: "progress",
        assignment,
        epoch,
        batch,
        batches,
        loss,
      });
    };
  }

  async #evaluate(work: Work): Promise<void> {
    const { assign, controller } = work;
    const { assignment, round } = assign;
    const base = await this.#base(work);
    const { test } = await this.#split(work, base);
    if (test.rows.length === 0) throw new Declined("data", `"data" expected an example held out`);
    const { description, weights, normalisation } = base.model;
    const { count, correct, loss } = await this.#useTrainer().evaluate(
      { description, weights, normalisation, part: test },
      { signal: controller.signal },
    );
    const evaluation = { count, correct, loss };
    const report = readable({ type: "report" as const, assignment, evaluation });
    work.void = true;
    this.#connection?.offer(report);
    this.#reported = { assignment, round, task: "evaluate" };
    this.#emit("assignment", { ...this.#reported, what: "reported" });
  }

  /** The assignment's model. What it asks of the device that the device lacks is declined. */
  async #base({ assign, controller }: Work): Promise<Loaded> {
    try {
      return await unlessAborted(this.#models.load(assign.model), controller.signal);
    } catch (error) {
      if (error instanceof ModelError && error.code === "description")
        throw new Declined("layer", error.message);
      throw error;
    }
  }

  async #split(
    { assign: { assignment, round, task }, controller: { signal } }: Work,
    { model }: Loaded,
  ): Promise<{ train: Part; test: Part }> {
    const request = { assignment, round, task, ...expectedBy(model) };
    try {
      const parts = await unlessAborted(this.#examples!.split(request), signal);
      this.#lookAtScale(parts.train.dataset, model);
      return parts;
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof DataError && this.#examples?.check) this.#misfit(error);
      throw new Declined("data", errorOf(error).message);
    }
  }

  #algorithm(name: string): Algorithm {
    return algorithmNamed(name, this.#options.algorithms);
  }

  /** Says that an assignment is declined or has failed. */
  #giveUp({ assignment, round, task }: ServerMessageOf<"assign">, error: unknown): void {
    const declined = error instanceof Declined;
    const failed = this.#stopping ? "stopped" : failureCode(error);
    const code = declined ? error.code : failed;
    const message = errorOf(error).message.slice(0, 1000);
    const told = this.#connection?.tell({
      type: declined ? "decline" : "failed",
      assignment,
      code,
      message,
    });
    // An aggregator that was not told gives the assignment again.
    if (told) this.#inBackground(this.#halfTrained!.drop(assignment));
    this.#emit("assignment", {
      assignment,
      round,
      task,
      what: declined ? "declined" : "failed",
      code,
      message,
    });
  }

  /** Ends the run: every assignment would end with the same error. */
  #leave(error: ConfigError): void {
    this.#unable = error;
    this.#connection?.close("no worker can start");
  }

  // The host.

  #available(): true | string {
    try {
      return this.#options.available?.() ?? true;
    } catch (error) {
      return `available() threw ${String(error)}`.slice(0, 1000);
    }
  }

  #checkAvailability(): void {
    const fits = this.#fits;
    if (fits instanceof DataError) this.#connection?.available(fits.message.slice(0, 1024), "data");
    else this.#connection?.available(fits && this.#available());
  }

  #useTrainer(): Trainer {
    if (this.#options.trainer !== undefined) return this.#options.trainer;
    this.#trainer ??= trainerOf(() => this.#platform.startWorker());
    return this.#trainer;
  }

  #usePredictor(): Trainer {
    if (this.#options.trainer !== undefined) return this.#options.trainer;
    this.#predictor ??= trainerOf(() => this.#platform.startWorker());
    return this.#predictor;
  }

  /** A worker that nobody needs would keep the host's process alive. */
  #freeTrainers(): void {
    if (this.#predicting > 0) return;
    if (this.#running === undefined) this.#closeTrainer();
    if (this.#work !== undefined) return;
    this.#predictor?.close();
    this.#predictor = undefined;
  }

  #closeTrainer(): void {
    this.#trainer?.close();
    this.#trainer = undefined;
  }

  #emit<E extends keyof ClientEvents>(event: E, value: ClientEvents[E]): void {
    const listeners = this.#listeners.get(event) as
      Set<(event: ClientEvents[E]) => unknown> | undefined;
    // A listener's mistake, made now or after an await, must not end a round.
    for (const listener of listeners ?? [])
      (async () => listener(value))().catch((error: unknown) => {
        if (event !== "problem") this.#emit("problem", errorOf(error));
      });
  }

  /** What nobody waits for must not become an unhandled rejection. */
  #inBackground(task: Promise<unknown>): void {
    task.catch((error: unknown) => {
      if (this.#running !== undefined && !this.#stopping) this.#emit("problem", errorOf(error));
    });
  }
}

const errorOf = (error: unknown) => (error instanceof Error ? error : new Error(String(error)));

/** What may take any time, until the signal says that nobody waits for it any more. */
function unlessAborted<T>(task: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    task.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
