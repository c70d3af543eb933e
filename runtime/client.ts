import type { Algorithm } from "./algorithms/algorithm.js";
import { algorithmNamed, BUILT_IN } from "./algorithms/built-in.js";
import {
  countOf,
  flat,
  partFor,
  type ClientData,
  type Inputs,
} from "./client/examples.js";
import {
  knownRuns,
  openRecords,
  rememberRun,
  removeOrphans,
  type Records,
} from "./client/records.js";
import { float32 } from "./codecs/float32.js";
import {
  Connection,
  type EndReason,
  type Introduction,
  type Told,
} from "./connection/connection.js";
import { sha256 } from "./connection/hash.js";
import type { Dataset, Part } from "./data/dataset.js";
import {
  ConfigError,
  DataError,
  FedflatError,
  ModelError,
  ProtocolError,
} from "./errors.js";
import { LAYER_KINDS } from "./models/description.js";
import { loadModel, type Model } from "./models/model.js";
import { networkOf } from "./models/network.js";
import { readBlob, writeBlob } from "./params/blob.js";
import type {
  Platform,
  SocketOptions,
  StateStore,
} from "./platform/platform.js";
import type {
  BlobName,
  OutgoingClientMessage,
  ServerMessageOf,
} from "./protocol/messages.js";
import { readTrainSettings, type TrainSettings } from "./protocol/settings.js";
import { holdOut } from "./training/batches.js";
import { trainingMemory } from "./training/engine.js";
import type { Trainer } from "./training/job.js";
import type { Progress } from "./training/local-round.js";
import { trainerOf } from "./training/trainer.js";
import { trainRound } from "./training/train-round.js";
import { engineBuild } from "./wasm/engine-build.js";

export type { ClientData, Inputs } from "./client/examples.js";

/** What a client is asked for data for. */
export interface DataRequest {
  readonly assignment: string;
  readonly round: number;
  readonly task: string;
  /** Shape of one example, and the class names, of the model at hand. */
  readonly input: readonly number[];
  readonly classes: readonly string[];
}

export interface Limits {
  /** Largest model, as its file. */
  readonly modelBytes?: number;
  /** Most memory that training may take, estimated from model and batch before it begins. */
  readonly memoryBytes?: number;
  /** Longest local round. */
  readonly seconds?: number;
}

export interface ClientOptions {
  /** Where the aggregator listens: ws://... or wss://... */
  readonly url: string;
  /** Where key, unfinished work and the algorithm's state are kept: a folder, in a browser the name of a database. */
  readonly state: string;
  /** The device's examples, or what gives them for each assignment, so that fresh data count. */
  readonly data:
    ClientData | ((request: DataRequest) => ClientData | Promise<ClientData>);
  /** An assignment outside these is declined by name. */
  readonly limits?: Limits;
  /** Whether the device may train now: true, or the reason why not. Asked every few seconds. */
  readonly available?: () => true | string;
  /** Share of the examples that is never trained on and serves evaluation. Default 0.1. */
  readonly holdOut?: number;
  /** Bearer or enrolment token, where the aggregator asks for one. */
  readonly token?: string;
  readonly tls?: SocketOptions["tls"];
  /** End as `unreachable` after so many milliseconds without the aggregator. Default: try for ever. */
  readonly patience?: number;
  /** Algorithms besides the built-in ones. */
  readonly algorithms?: readonly Algorithm[];
  /** Trains in place of a worker of the client's own, and may be shared by several clients. It is not closed. */
  readonly trainer?: Trainer;
}

/** A global model as it was committed. */
export interface CommittedModel extends Model {
  /** The round that made it; absent where it is not known. */
  readonly round?: number;
  /** Its name: the hash of its file. */
  readonly sha256: string;
}

export interface Prediction {
  /** Index and name of the most probable class. */
  readonly label: number;
  readonly name: string;
  /** One for each class. */
  readonly probabilities: Float32Array;
}

export interface ClientEvents {
  /** After a batch, at most ten times a second. */
  progress: Progress & { readonly round: number };
  /** Each newly committed global model. Without a listener only the models to train on are fetched. */
  model: CommittedModel;
  /** What becomes of an assignment. */
  assignment: {
    readonly assignment: string;
    readonly round?: number;
    readonly what:
      | "accepted"
      | "declined"
      | "failed"
      | "offered"
      | "reported"
      | "received"
      | "committed"
      | "refused";
    /** Why it was declined or refused, or failed. */
    readonly code?: string;
    readonly message?: string;
  };
  /** The line to the aggregator is up, or lost and dialled again in so many milliseconds. */
  line: {
    readonly up: boolean;
    readonly reason?: string;
    readonly retryIn?: number;
  };
  /** What the aggregator waits for. */
  wait: { readonly reason: string };
  /** Something went wrong that did not end the client. */
  problem: Error;
}

/** How a run ended for this client. */
export interface Outcome {
  /** `finished` by the aggregator, `stopped` by the host, or why the client may not go on. */
  readonly reason: "stopped" | Exclude<EndReason, "closed">;
  readonly message: string;
  /** The newest global model that this client has. */
  readonly model?: CommittedModel;
}

/** An assignment in hand. */
interface Work {
  readonly assign: ServerMessageOf<"assign">;
  readonly controller: AbortController;
  /** Void: it is answered, or the aggregator has taken it back; nothing more is to be said about it. */
  void: boolean;
  done: Promise<void>;
}

interface Loaded {
  readonly model: CommittedModel;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** The client will not do an assignment: docs/protocol.md, `decline`. */
class Declined extends FedflatError {}

const AVAILABILITY_MS = 5000;
/** After the store could not be written. */
const RETRY_MS = 30_000;
const PROGRESS_MS = 1000;

/**
 * A device's part in a federation: joins a run, trains when asked, keeps what it has finished until it is committed, and
 * reconnects until the run ends or `stop` is called. The package's entries bind it to Node and to the browser.
 */
export class FederatedClient {
  readonly #options: ClientOptions;
  readonly #platform: Platform;
  readonly #listeners = new Map<string, Set<(event: never) => void>>();
  #running?: Promise<Outcome>;
  #stopping = false;
  #connection?: Connection;
  #store?: StateStore;
  #identityHash = "";
  #session?: { readonly run: string; readonly records: Records };
  /** Assignments whose offer the connection repeats. */
  #offered = new Set<string>();
  #work?: Work;
  #trainer?: Trainer;
  #trainSamples?: number;
  #part?: {
    readonly data: ClientData;
    readonly key: string;
    readonly part: Part;
  };
  /** Sample passes that took longer than the limit. */
  #tooMany = Infinity;
  #newest?: { readonly round?: number; readonly blob: BlobName };
  #model?: { readonly sha256: string; readonly loaded: Promise<Loaded> };
  #committed?: CommittedModel;

  /** @throws ConfigError `url`, `hold-out` */
  constructor(options: ClientOptions, platform: Platform) {
    const { url, holdOut: share = 0.1 } = options;
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
   * @throws ConfigError `running`, `state-locked`, `state-unusable`, `key-unreadable`
   */
  run(): Promise<Outcome> {
    if (this.#running !== undefined)
      return Promise.reject(
        new ConfigError(
          "running",
          `"run" expected an idle client, got one that runs`,
        ),
      );
    this.#stopping = false;
    this.#running = this.#takePart().finally(() => (this.#running = undefined));
    return this.#running;
  }

  /**
   * Leaves the run: training ends at the next batch, with `force` at once. Finished updates stay in the store, and are
   * offered again by the next `run`. Resolves when `run` has.
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
   * Predicts with the newest committed model; `x` as in `data`, one or more examples.
   * @throws ModelError `no-model` before the first one is known, `shape`
   */
  async predict(x: Inputs): Promise<Prediction[]> {
    if (this.#newest && this.#newest.blob.sha256 !== this.#committed?.sha256)
      await this.#fetchNewest();
    const model = this.#committed;
    if (model === undefined)
      throw new ModelError(
        "no-model",
        `"predict" expected a committed model, got none yet`,
      );
    const trainer = this.#useTrainer();
    try {
      const { description, weights, normalisation, classes } = model;
      const inputs = flat(x);
      const logits = await trainer.predict({
        description,
        weights,
        normalisation,
        inputs,
      });
      return Array.from({ length: logits.length / classes.length }, (_, i) =>
        prediction(
          logits.subarray(i * classes.length, (i + 1) * classes.length),
          classes,
        ),
      );
    } finally {
      // A worker would keep the host's process alive.
      if (this.#running === undefined) this.#closeTrainer();
    }
  }

  async #takePart(): Promise<Outcome> {
    const { url, state, token, tls, patience } = this.#options;
    const store = await this.#platform.openState(state);
    let poll: ReturnType<typeof setInterval> | undefined;
    try {
      this.#store = store;
      const identity = await this.#platform.identity(store);
      this.#identityHash = await sha256(identity.publicKey.slice());
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
            lost: (reason, retryIn) =>
              this.#emit("line", { up: false, reason, retryIn }),
            ended: (reason, message) => resolve({ reason, message }),
          },
        });
        this.#checkAvailability();
        poll = setInterval(() => this.#checkAvailability(), AVAILABILITY_MS);
        this.#connection.start();
      });
      return {
        reason: reason === "closed" ? "stopped" : reason,
        message,
        model: this.#committed,
      };
    } finally {
      clearInterval(poll);
      this.#void();
      this.#closeTrainer();
      await this.#work?.done;
      await this.#session?.records.idle();
      this.#connection = undefined;
      this.#session = undefined;
      this.#offered.clear();
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
    const record = this.#session?.records.record;
    const pending: { assignment: string; sha256?: string }[] = (
      record?.pending ?? []
    ).map(({ offer: { assignment, sha256 } }) => ({ assignment, sha256 }));
    if (this.#work !== undefined)
      pending.push({ assignment: this.#work.assign.assignment });
    const { data, algorithms = [] } = this.#options;
    return {
      capabilities: {
        algorithms: [...BUILT_IN, ...algorithms].map(({ name }) => name),
        layers: Object.keys(LAYER_KINDS),
        codecs: [float32.name],
        build: engineBuild(),
      },
      samples:
        this.#trainSamples ??
        record?.samples ??
        (typeof data === "function" ? null : this.#countTraining(data)),
      counted: record?.counted,
      pending: pending.slice(-16),
      agent: "fedflat/0.1.0",
    };
  }

  #welcomed({
    run,
    lastCounted,
    round,
    model,
  }: ServerMessageOf<"welcome">): void {
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
    this.#inBackground(this.#offerPending(records));
    // Before the first commit there is a model to begin with, but no committed one.
    if (model !== null && round > 1) this.#news(round - 1, model);
  }

  /** Offers what an earlier life of this client finished; what this one offered the connection repeats. */
  async #offerPending(records: Records): Promise<void> {
    for (const { offer } of records.record.pending) {
      if (this.#offered.has(offer.assignment)) continue;
      this.#offered.add(offer.assignment);
      const update = await records.update(offer.assignment);
      // None where it has been settled meanwhile.
      if (update !== undefined) this.#offer(offer, update);
    }
  }

  #offer(
    offer: Extract<OutgoingClientMessage, { type: "offer" }>,
    update: Uint8Array,
  ): void {
    this.#offered.add(offer.assignment);
    this.#connection?.offer(offer, (offset, length) =>
      update.subarray(offset, offset + length),
    );
  }

  #told(message: Told): void {
    switch (message.type) {
      case "assign":
        return this.#assigned(message);
      case "received":
        return this.#emit("assignment", {
          assignment: message.assignment,
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
    this.#offered.delete(assignment);
    records.commit(assignment, round).catch((error: unknown) => {
      // The aggregator has counted an update whose state could not be written here. Until it is, nothing may be trained:
      // the next welcome says so again.
      this.#void();
      this.#emit("problem", errorOf(error));
      this.#connection?.redial("the state could not be written", RETRY_MS);
    });
    this.#emit("assignment", { assignment, round, what: "committed" });
  }

  #refused({
    assignment,
    code,
    message,
    retryAfter,
  }: ServerMessageOf<"refused">): void {
    if (retryAfter !== null) return;
    if (this.#work?.assign.assignment === assignment) this.#void();
    this.#offered.delete(assignment);
    this.#inBackground(this.#session!.records.drop(assignment));
    this.#emit("assignment", {
      assignment,
      what: "refused",
      code,
      message: message ?? undefined,
    });
  }

  async #finish({ model }: ServerMessageOf<"finished">): Promise<void> {
    this.#void();
    try {
      if (model !== null) {
        if (this.#newest?.blob.sha256 !== model.sha256)
          this.#newest = { blob: model };
        await this.#fetchNewest();
      }
    } finally {
      this.#connection?.close();
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
    this.#checkModelSize(blob);
    const { model } = await this.#load(blob);
    if (
      this.#newest?.blob.sha256 !== blob.sha256 ||
      this.#committed?.sha256 === blob.sha256
    )
      return;
    this.#committed = { ...model, round };
    this.#emit("model", this.#committed);
  }

  /** The model of that name; the last one asked for is kept in memory. */
  #load(blob: BlobName): Promise<Loaded> {
    if (this.#model?.sha256 !== blob.sha256) {
      const loaded = this.#fetch(blob);
      const kept = { sha256: blob.sha256, loaded };
      this.#model = kept;
      loaded.catch(() => {
        if (this.#model === kept) this.#model = undefined;
      });
    }
    return this.#model!.loaded;
  }

  async #fetch(blob: BlobName): Promise<Loaded> {
    for (let attempt = 1; attempt <= 2; attempt++) {
      if (this.#connection === undefined) break;
      const bytes = new Uint8Array(blob.bytes);
      await this.#connection.fetch(blob, (chunk, at) => bytes.set(chunk, at));
      if ((await sha256(bytes)) === blob.sha256)
        return { bytes, model: { ...loadModel(bytes), sha256: blob.sha256 } };
    }
    throw new ProtocolError(
      "hash",
      `"model" expected bytes of hash ${blob.sha256}, got others`,
    );
  }

  #checkModelSize({ bytes }: BlobName): void {
    const { modelBytes = Infinity } = this.#options.limits ?? {};
    if (bytes > modelBytes)
      throw new Declined(
        "model-bytes",
        `"model" expected at most ${modelBytes} bytes, got ${bytes}`,
      );
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
    let settings: TrainSettings | undefined;
    try {
      settings = this.#check(assign);
    } catch (error) {
      return this.#giveUp(assign, error);
    }
    connection.tell({ type: "accept", assignment });
    this.#emit("assignment", { assignment, round, what: "accepted" });
    const controller = new AbortController();
    const work: Work = {
      assign,
      controller,
      void: false,
      done: Promise.resolve(),
    };
    this.#work = work;
    work.done = (
      settings === undefined
        ? this.#evaluate(work)
        : this.#train(work, settings)
    )
      .catch((error: unknown) => {
        const { reason } = controller.signal;
        if (!work.void)
          this.#giveUp(assign, reason instanceof FedflatError ? reason : error);
      })
      .finally(() => {
        this.#work = undefined;
        this.#checkAvailability();
      });
  }

  /** Ends the work in hand without a word to the aggregator. */
  #void(): void {
    if (this.#work === undefined) return;
    this.#work.void = true;
    this.#work.controller.abort();
  }

  /** What can be told before the model is here. The settings of a training task, nothing for an evaluation. */
  #check(assign: ServerMessageOf<"assign">): TrainSettings | undefined {
    const { task, codec, model } = assign;
    const decline = (code: string, expected: string, got: string): never => {
      throw new Declined(code, `"${code}" expected ${expected}, got ${got}`);
    };
    const available = this.#available();
    if (this.#work !== undefined || this.#stopping)
      decline("busy", "a free client", "one at work");
    if (available !== true) decline("busy", "a free client", available);
    if (task !== "train" && task !== "evaluate")
      decline("task", "train or evaluate", task);
    this.#checkModelSize(model);
    if (task === "evaluate") return undefined;
    if (codec !== float32.name) decline("codec", float32.name, codec);
    try {
      const settings = readTrainSettings(assign.settings);
      this.#algorithm(settings.algorithm);
      return settings;
    } catch (error) {
      if (error instanceof ModelError)
        throw new Declined("algorithm", error.message);
      throw new Declined("settings", (error as Error).message);
    }
  }

  async #train(work: Work, settings: TrainSettings): Promise<void> {
    const { assign, controller } = work;
    const { assignment, round } = assign;
    const { signal } = controller;
    const { records } = this.#session!;
    const { model, bytes } = await this.#base(work);
    const { layout } = model;
    const { memoryBytes = Infinity, seconds = Infinity } =
      this.#options.limits ?? {};
    // Besides the plan: the model's file and weights, the update and the state that is kept beside it.
    const memory =
      trainingMemory(networkOf(model.description), settings.batchSize) +
      4 * bytes.length;
    if (memory > memoryBytes)
      throw new Declined(
        "memory",
        `"memory" expected at most ${memoryBytes} bytes, got a task of ${memory}`,
      );
    const { train } = this.#split(await this.#examples(work, model));
    const samples = train.rows.length;
    if (samples === 0)
      throw new Declined("data", `"data" expected an example to train on`);
    const passes = settings.localEpochs * samples;
    if (passes >= this.#tooMany)
      throw new Declined(
        "seconds",
        `"seconds" expected at most ${seconds}, which ${passes} sample passes took longer than before`,
      );
    this.#trainSamples = samples;

    const algorithm = this.#algorithm(settings.algorithm);
    const kept = await records.state();
    let told = -Infinity;
    let timer: ReturnType<typeof setTimeout> | undefined;
    if (seconds < Infinity)
      timer = setTimeout(() => {
        this.#tooMany = passes;
        controller.abort(
          new FedflatError(
            "seconds",
            `"training" expected at most ${seconds} s, got more`,
          ),
        );
      }, seconds * 1000);
    const result = await trainRound(
      this.#useTrainer(),
      {
        description: model.description,
        weights: model.weights,
        normalisation: model.normalisation,
        algorithm,
        settings: {
          ...settings,
          meanSamples: settings.meanSamples || samples,
        },
        part: train,
        state: kept && readBlob(kept, layout, algorithm.client.state),
        received: readBlob(bytes, layout, algorithm.client.receives),
      },
      {
        signal,
        onProgress: (progress) => {
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
        },
      },
    ).finally(() => clearTimeout(timer));
    for (const vector of Object.values(result.update))
      if (!vector.every(Number.isFinite))
        throw new ModelError(
          "diverged",
          `"update" expected finite numbers, got NaN or infinite ones`,
        );

    const update = float32.encode(layout, result.update);
    const {
      lossBefore,
      lossAfter,
      activationNorms,
      seconds: took,
    } = result.metrics;
    const offer = {
      type: "offer" as const,
      assignment,
      sha256: await sha256(update),
      bytes: update.length,
      samples,
      metrics: {
        lossBefore,
        lossAfter,
        activationNorms: [...activationNorms],
        seconds: took,
      },
    };
    const state =
      algorithm.client.state.length > 0
        ? writeBlob(layout, result.state)
        : undefined;
    if (work.void) return;
    await records.keep({ round, offer }, update, state);
    // Refused while it was written: the drop ran before the keep.
    if (work.void) return records.drop(assignment);
    work.void = true;
    this.#offer(offer, update);
    this.#emit("assignment", { assignment, round, what: "offered" });
  }

  async #evaluate(work: Work): Promise<void> {
    const { assign, controller } = work;
    const { assignment, round } = assign;
    const { model } = await this.#base(work);
    const { test } = this.#split(await this.#examples(work, model));
    if (test.rows.length === 0)
      throw new Declined("data", `"data" expected an example held out`);
    const { description, weights, normalisation } = model;
    const { count, correct, loss } = await this.#useTrainer().evaluate(
      { description, weights, normalisation, part: test },
      { signal: controller.signal },
    );
    work.void = true;
    this.#connection?.offer({
      type: "report",
      assignment,
      evaluation: { count, correct, loss },
    });
    this.#emit("assignment", { assignment, round, what: "reported" });
  }

  /** The assignment's model. What it asks of the device that the device lacks is declined. */
  async #base({ assign, controller }: Work): Promise<Loaded> {
    try {
      return await unlessAborted(this.#load(assign.model), controller.signal);
    } catch (error) {
      if (error instanceof ModelError && error.code === "description")
        throw new Declined("layer", error.message);
      throw error;
    }
  }

  async #examples(
    { assign: { assignment, round, task }, controller: { signal } }: Work,
    { description: { input }, classes }: CommittedModel,
  ): Promise<Part> {
    const { data } = this.#options;
    try {
      const given =
        typeof data === "function"
          ? await unlessAborted(
              Promise.resolve(
                data({ assignment, round, task, input, classes }),
              ),
              signal,
            )
          : data;
      // The same examples stay the same part, so that the worker need not be sent them again.
      const key = [input, classes.length].join();
      if (this.#part?.data !== given || this.#part.key !== key)
        this.#part = { data: given, key, part: partFor(given, input, classes) };
      return this.#part.part;
    } catch (error) {
      signal.throwIfAborted();
      throw new Declined(
        "data",
        error instanceof Error ? error.message : String(error),
      );
    }
  }

  /** The same examples are held out each time, whatever is added behind them. */
  #split(part: Part): { train: Part; test: Part } {
    return holdOut(part, this.#options.holdOut ?? 0.1, this.#identityHash);
  }

  #countTraining(data: ClientData): number {
    const rows =
      "rows" in data
        ? data.rows
        : Uint32Array.from({ length: countOf(data) }, (_, row) => row);
    return this.#split({ dataset: NO_DATASET, rows }).train.rows.length;
  }

  #algorithm(name: string): Algorithm {
    return algorithmNamed(name, this.#options.algorithms);
  }

  /** Says that an assignment is declined or has failed. */
  #giveUp(
    { assignment, round }: ServerMessageOf<"assign">,
    error: unknown,
  ): void {
    const declined = error instanceof Declined;
    const code = declined ? error.code : failureCode(error, this.#stopping);
    const message = (
      error instanceof Error ? error.message : String(error)
    ).slice(0, 1000);
    this.#connection?.tell({
      type: declined ? "decline" : "failed",
      assignment,
      code,
      message,
    });
    this.#emit("assignment", {
      assignment,
      round,
      what: declined ? "declined" : "failed",
      code,
      message,
    });
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
    this.#connection?.available(this.#available());
  }

  #useTrainer(): Trainer {
    if (this.#options.trainer !== undefined) return this.#options.trainer;
    this.#trainer ??= trainerOf(() => this.#platform.startWorker());
    return this.#trainer;
  }

  #closeTrainer(): void {
    this.#trainer?.close();
    this.#trainer = undefined;
  }

  #emit<E extends keyof ClientEvents>(event: E, value: ClientEvents[E]): void {
    const listeners = this.#listeners.get(event) as
      Set<(event: ClientEvents[E]) => void> | undefined;
    for (const listener of listeners ?? [])
      try {
        listener(value);
      } catch (error) {
        // A listener's mistake must not end a round.
        if (event !== "problem") this.#emit("problem", errorOf(error));
      }
  }

  /** What nobody waits for must not become an unhandled rejection. */
  #inBackground(task: Promise<unknown>): void {
    task.catch((error: unknown) => {
      if (this.#running !== undefined && !this.#stopping)
        this.#emit("problem", errorOf(error));
    });
  }
}

const NO_DATASET: Dataset = {
  shape: [],
  inputs: new Float32Array(),
  labels: new Int32Array(),
  classes: [],
};

/** What may take any time, until the signal says that nobody waits for it any more. */
function unlessAborted<T>(task: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    task
      .then(resolve, reject)
      .finally(() => signal.removeEventListener("abort", abort));
  });
}

const errorOf = (error: unknown) =>
  error instanceof Error ? error : new Error(String(error));

/** docs/protocol.md, codes of `failed`. */
function failureCode(error: unknown, stopping: boolean): string {
  if (stopping) return "stopped";
  if (!(error instanceof FedflatError)) return "other";
  if (error.code === "diverged" || error.code === "seconds") return error.code;
  if (error.code === "failed")
    return /memory|allocat/i.test(error.message) ? "memory" : "trap";
  if (error instanceof DataError) return "data";
  if (error instanceof ModelError || error instanceof ProtocolError)
    return "model";
  return "other";
}

function prediction(
  logits: Float32Array,
  classes: readonly string[],
): Prediction {
  const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const exponentials = logits.map((logit) => Math.exp(logit - largest));
  const sum = exponentials.reduce((a, b) => a + b, 0);
  const label = logits.indexOf(largest);
  return {
    label,
    name: classes[label],
    probabilities: exponentials.map((value) => value / sum),
  };
}
