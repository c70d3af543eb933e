import { createHash, randomBytes } from "node:crypto";
import { EventEmitter } from "node:events";
import {
  algorithmNamed,
  algorithmSettings,
  BUILT_IN,
} from "../runtime/algorithms/built-in.js";
import type { Algorithm } from "../runtime/algorithms/algorithm.js";
import { float32 } from "../runtime/codecs/float32.js";
import { ConfigError } from "../runtime/errors.js";
import type { ModelDescription } from "../runtime/models/description.js";
import { modelMetadata } from "../runtime/models/model.js";
import { readSafetensors } from "../runtime/params/safetensors.js";
import type { Socket } from "../runtime/platform/platform.js";
import { MAX_FRAME_BYTES, type Chunk } from "../runtime/protocol/chunks.js";
import type {
  ClientMessage,
  ClientMessageOf,
  OutgoingServerMessage,
} from "../runtime/protocol/messages.js";
import {
  assignmentId,
  nameOf,
  openAssignments,
  type Assignments,
} from "./assignments.js";
import {
  lackOf,
  newClient,
  rosterOf,
  standingOf,
  type Assignment,
  type Client,
  type Needs,
} from "./clients.js";
import { collectAll } from "./collect.js";
import { commitRound, LARGE } from "./commit.js";
import { firstCheckpoint, openDesk, type Desk } from "./desk.js";
import { openDeskInWorker } from "./desk-in-worker.js";
import { brokenBy, openDurably, type Durably } from "./durably.js";
import {
  openEvaluations,
  type EvaluationLine,
  type EvaluationResult,
  type Evaluations,
} from "./evaluations.js";
import type { Admission } from "./identity.js";
import { calm, silent, type Log } from "./log.js";
import { openModels, type Models } from "./models.js";
import { inTurns, TURN } from "./pace.js";
import {
  learningRateOf,
  type RoundLine,
  type RoundTimings,
} from "./round-line.js";
import { OFFER_CHECKS, refusalOf, type Refusal } from "./rounds/admission.js";
import {
  type Attempt,
  type RoundEffect,
  type RoundEvent,
  type Rounds,
} from "./rounds/engine.js";
import type { Members, Work } from "./rounds/members.js";
import { roundsFor } from "./rounds/modes.js";
import type {
  AggregatorEvents,
  AggregatorOptions,
  Ending,
  Load,
  Situation,
  Status,
} from "./run.js";
import {
  openRunFolder,
  requireRunFolder,
  stateFolder,
  type RunFolder,
} from "./run-folder.js";
import { Session, type Origin, type SessionHost } from "./session.js";
import { readAggregatorSettings, type AggregatorSettings } from "./settings.js";
import { fileLedger } from "./storage/files.js";
import type { AttemptRecord, Blob, Ledger, Opened } from "./storage/ledger.js";
import { memoryLedger } from "./storage/memory.js";
import { plain, wasmArithmetic } from "./strategies/arithmetic.js";
import { stateGrid } from "./strategies/weighted-mean.js";
import { openUploads, type Uploads } from "./uploads.js";

export type {
  AggregatorEvents,
  AggregatorOptions,
  Ending,
  Situation,
  Status,
} from "./run.js";
export type { EvaluationLine, EvaluationResult } from "./evaluations.js";
export type { RoundLine, RoundTimings } from "./round-line.js";

/** Blobs above this size are hashed, checked and folded in a worker. */
const WORKER_FROM = 128 * 1024;
/** About when clients of an aggregator that stops shall dial again, in milliseconds. */
const RESTART = 2000;
/** As long a client may wait before it dials (docs/protocol.md, section 9), in milliseconds. */
const LONGEST_BACK_OFF = 60_000;
/** How often lines and uploads are looked after, in milliseconds. */
const BEAT = 1000;

/**
 * The aggregator of one run: lines come in by `attach` (from server.ts, or from a simulation's memory), rounds go on by
 * themselves, and `done` tells how it ended. All decisions about rounds are those of an engine in rounds/; this class
 * carries them out.
 */
export class Aggregator extends EventEmitter<AggregatorEvents> {
  readonly settings: AggregatorSettings;
  readonly admission: Admission;
  readonly log: Log;
  /** For what strangers cause, who may be many. */
  readonly doorLog: Log;
  /** Resolves when all rounds are committed and evaluated, or the run has stopped; never rejects. */
  readonly done: Promise<Ending>;

  #options: AggregatorOptions;
  readonly #algorithm: Algorithm;
  readonly #rounds: Rounds;
  readonly #needs: Needs;
  readonly #metadata: Record<string, string>;
  readonly #updateBytes: number;
  readonly #uploads: Uploads;
  readonly #evaluations: Evaluations;
  readonly #clients = new Map<string, Client>();
  readonly #sessions = new Set<Session>();
  readonly #assignments: Assignments;
  readonly #models: Models = openModels();
  readonly #durably: Durably;

  #resolve!: (ending: Ending) => void;
  #desk!: Desk;
  #ledger!: Ledger;
  #folder: RunFolder | undefined;
  #opened!: Pick<Opened, "run" | "epoch">;
  #host!: SessionHost;
  /** The last attempt that was begun, open or not. */
  #attempt: AttemptRecord | undefined;
  /** From which the ids of assignments are made. */
  #key = "";
  /** Updates in the fold. */
  #counted = 0;
  #phaseDue = 0;
  #openedAt = 0;
  #deadline: NodeJS.Timeout | undefined;
  #beat: NodeJS.Timeout | undefined;
  #rosterDue: NodeJS.Immediate | undefined;
  readonly #events: RoundEvent[] = [];
  /** What the last event asked for and is not carried out yet. */
  readonly #effects: RoundEffect[] = [];
  #stepping = false;
  #turnDue: NodeJS.Immediate | undefined;
  #said = "";
  #sentenceDue: NodeJS.Immediate | undefined;
  /** Everything that is written to the run's folder, one after the other. */
  #writing: Promise<void> = Promise.resolve();
  #closing = false;
  #evaluated: EvaluationLine | undefined;
  /** Told when the last line has closed. */
  #allGone: (() => void) | undefined;

  /** @throws ConfigError `settings`, `client-state` (of an algorithm in buffered rounds or with a clip), ModelError `unknown-algorithm`, `algorithm-settings`. */
  constructor(options: AggregatorOptions) {
    super();
    const settings = readAggregatorSettings(options.settings ?? {});
    this.#options = options;
    this.#algorithm =
      options.algorithm ?? algorithmNamed(settings.algorithm, []);
    this.settings = {
      ...settings,
      algorithm: this.#algorithm.name,
      algorithmSettings: algorithmSettings(
        this.#algorithm,
        settings.algorithmSettings,
      ),
    };
    const { state } = this.#algorithm.client;
    if (settings.clipUpdateNorm > 0 && state.length > 0)
      throw new ConfigError(
        "client-state",
        `"clipUpdateNorm" expected an algorithm whose clients keep no state, got ${this.#algorithm.name}, whose clients would keep what is clipped here`,
      );
    this.admission = options.admission ?? { kind: "any" };
    this.log = options.log ?? silent;
    this.doorLog = calm(this.log);
    const { model } = options;
    this.#metadata = modelMetadata(model);
    this.#updateBytes = float32.form(
      model.layout,
      this.#algorithm.client.sends,
    ).bytes;
    this.#needs = {
      algorithm: this.#algorithm.name,
      layers: new Set(model.description.layers.map(({ type }) => type)),
      codec: float32.name,
    };
    this.#rounds = roundsFor(this.settings, this.#algorithm);
    this.#durably = openDurably({
      log: this.log,
      pause: settings.pause,
      send: (event) => this.#send(event),
      isClosing: () => this.#closing,
    });
    this.#uploads = openUploads({
      budgetBytes: Math.max(settings.budgetBytes, 2 * this.#updateBytes),
      windowBytes: settings.windowBytes,
      stall: settings.stall,
      minimumRate: settings.minimumRate,
      arrived: ({ assignment, sha256 }, bytes) =>
        void this.#check(assignment, sha256, bytes),
      evicted: (assignment) =>
        this.log.warn({ assignment }, "a stalled upload lost its room"),
    });
    this.#assignments = openAssignments({
      clientOf: (id) => this.#clientOf(id),
      release: (id) => this.#dropUpdate(id),
      refused: (client, assignment, { code, message }) => {
        this.log.warn(
          { client: client.id.slice(0, 32), assignment, code },
          `refused an update: ${message}`,
        );
        this.#tell("refused", { client: client.id, code, message });
      },
    });
    this.#evaluations = openEvaluations({
      seed: settings.seed,
      fraction: settings.evaluateFraction,
      deadline: settings.evaluateDeadline,
      test: options.evaluate,
      log: this.log,
      give: (assignment) => this.#assignments.give(assignment),
      takeBack: (assignment) => {
        this.#assignments.end(assignment, "late");
        this.#assignments.forget(assignment);
      },
      done: (line) => {
        this.#evaluated = line;
        this.#write((folder) => folder.evaluation(line));
        this.#tell("evaluation", line);
      },
    });
    this.done = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  /** The run's id. */
  get run(): string {
    return this.#opened.run;
  }

  get description(): ModelDescription {
    return this.#options.model.description;
  }

  /** The run's folder, where it has one. */
  get folder(): string | undefined {
    return this.#options.folder;
  }

  /** How many rounds are committed. */
  get committed(): number {
    return this.#models.round;
  }

  /** The current global model, as a blob. */
  get model(): Blob {
    return this.#models.current;
  }

  /**
   * Opens the run's folder and begins, or goes on where it was.
   * @throws ConfigError `run-exists`, `nothing-to-resume`, `resume` (another model or algorithm), `state-locked`, `state-damaged`.
   */
  async start(): Promise<void> {
    const { folder, resume = false, model, ledger } = this.#options;
    if (folder !== undefined && ledger === undefined)
      requireRunFolder(folder, resume);
    const genesis = firstCheckpoint(
      this.#algorithm,
      this.settings.algorithmSettings,
      model.layout,
      this.#metadata,
      model.weights,
    );
    this.#ledger =
      ledger ??
      (folder === undefined ? memoryLedger() : fileLedger(stateFolder(folder)));
    const opened = await this.#ledger.open(genesis);
    this.#opened = { run: opened.run, epoch: opened.epoch };
    // The weights to begin with are in the ledger now, and not needed twice.
    const weights = new Float32Array(0);
    this.#options = { ...this.#options, model: { ...model, weights } };
    try {
      await this.#begin(opened);
    } catch (error) {
      await this.#desk?.close();
      await this.#ledger.close();
      throw error;
    }
  }

  async #begin(opened: Opened): Promise<void> {
    const { last, attempt, latest, clients, history, notes } = opened;
    const { folder, config } = this.#options;
    for (const note of notes) this.log.warn({ run: this.run }, note);
    const changed = (what: string) =>
      new ConfigError(
        "resume",
        `"run" expected the ${what} that the run was begun with, got another`,
      );
    if (
      readSafetensors(last.model.bytes).metadata["model"] !==
      this.#metadata["model"]
    )
      throw changed("model");
    const begun = history.at(-1)?.line["algorithm"] ?? this.#algorithm.name;
    if (begun !== this.#algorithm.name)
      throw changed(`algorithm (${String(begun)})`);
    const mode = latest?.mode ?? this.settings.mode;
    if (mode !== this.settings.mode) throw changed(`mode (${mode})`);
    this.#attempt = latest;
    this.#key = latest?.key ?? randomBytes(32).toString("hex");

    this.#desk = await this.#openDesk();
    await this.#desk.load(last.state.bytes);
    this.#models.keep(last.record.round, last.model);
    if (folder !== undefined) {
      this.#folder = openRunFolder(folder);
      const lines = history.filter(({ round }) => round > 0);
      await this.#folder.begin(
        { ...config, ...this.settings, model: this.#options.model.description },
        lines.map(({ line }) => line),
      );
      await this.#writeModel(last.record.round);
    }

    this.#host = {
      run: this.run,
      admission: this.admission,
      log: this.log,
      doorLog: this.doorLog,
      heartbeat: this.settings.heartbeat,
      helloDeadline: this.settings.helloDeadline,
      windowBytes: this.settings.windowBytes,
      hasRoomFor: (client) =>
        this.#clients.has(client) ||
        this.#clients.size < this.settings.maxClients,
      admitted: (session) => this.#welcome(session),
      message: (session, message) => this.#message(session, message),
      chunk: (session, chunk: Chunk) => this.#uploads.chunk(session, chunk),
      blob: (sha256) => this.blob(sha256),
      closed: (session) => this.#lineClosed(session),
    };
    for (const { id, samples } of clients) {
      // Remembered clients are expected back, and drawn as if they were here, for as long as one that just left.
      const client = this.#clientOf(id);
      client.samples = samples;
      client.registered = true;
      client.ready = true;
      // Whoever takes part in the attempt that was cut short may be waiting as long as a back-off lasts before it dials.
      const { absence } = this.settings;
      const asked = attempt?.selected.includes(id);
      this.#expect(
        client,
        asked ? Math.max(absence, LONGEST_BACK_OFF) : absence,
      );
    }
    this.#beat = setInterval(
      () => this.#lookAfter(),
      Math.min(BEAT, this.settings.heartbeat / 2),
    );
    this.log.info(
      {
        run: this.run,
        epoch: this.#opened.epoch,
        committed: this.#models.round,
        build: this.#desk.build,
      },
      attempt
        ? `the run goes on with round ${attempt.round}, attempt ${attempt.attempt}`
        : "the run begins",
    );
    if (attempt !== undefined) await this.#prepare(attempt);
    for (const effect of this.#rounds.start(this.#models.round, attempt))
      this.#carryOut(effect);
    if (this.#options.hold) this.hold();
    this.#rosterChanged();
    this.#saysWhatItWaitsFor();
  }

  /** Started, be it also at its end. */
  get begun(): boolean {
    return this.#rounds.at !== undefined;
  }

  /** Takes lines: started, and not at its end. */
  get open(): boolean {
    return this.#rounds.at !== undefined && !this.#closing;
  }

  /** Opens rounds: `readyz` says so to whoever sends clients here. */
  get ready(): boolean {
    return this.open && !this.#rounds.draining;
  }

  /** Gives the aggregator one more line: a WebSocket, or one end of a line in memory. */
  attach(line: Socket, origin: Origin): void {
    if (!this.open) return line.close(1012, "restarting");
    const session = new Session(line, origin, this.#host);
    this.#sessions.add(session);
  }

  /** Whether this bearer opens the models: it belongs to a line that is open. */
  opens(bearer: string): boolean {
    for (const session of this.#sessions)
      if (session.bearer === bearer) return true;
    return false;
  }

  /** A model that may be fetched now. */
  blob(sha256: string): Uint8Array | undefined {
    return this.#models.bytesOf(sha256) ?? this.#assignments.model(sha256);
  }

  /** Opens no further round; the one in progress is still finished. */
  drain(): void {
    this.#send({ type: "drain" });
  }

  /** Opens no further round before `release`; the one in progress is still finished. A restart does not remember it. */
  hold(): void {
    this.#send({ type: "hold" });
  }

  release(): void {
    this.#send({ type: "release" });
  }

  /**
   * Ends now: what was committed is on disk, an attempt in progress is gone on with after a resume. Clients are told to come
   * back; those of a finished run get some time to fetch the model and leave by themselves. Safe to call at any time, also
   * twice.
   */
  async stop(reason = "stopped"): Promise<void> {
    if (this.#rounds.at === undefined) return;
    this.#send({ type: "stop", reason });
    const ending = await this.done;
    if (ending.reason === "finished" && this.#sessions.size > 0)
      await new Promise<void>((resolve) => {
        const patience = setTimeout(resolve, this.settings.farewell);
        this.#allGone = () => {
          clearTimeout(patience);
          resolve();
        };
      });
    await this.#close();
  }

  status(): Status {
    return {
      run: this.run,
      committed: this.#models.round,
      rounds: this.settings.rounds,
      waitsFor: this.#rounds.waitsFor(),
      model: this.#models.current.sha256,
      clients: [...this.#clients.values()]
        .sort((a, b) => (a.id < b.id ? -1 : 1))
        .map((client) => ({
          id: client.id,
          connected: client.session !== undefined,
          state: stateOf(client),
          samples: client.samples,
        })),
    };
  }

  situation(): Situation {
    const rounds = this.#rounds;
    const at = rounds.at ?? "";
    const left = this.#phaseDue - performance.now();
    return {
      waitsFor: rounds.waitsFor(),
      at,
      committed: this.#models.round,
      ...rounds.progress(),
      left:
        at === "collecting" || at === "buffering"
          ? Math.max(0, Math.round(left))
          : undefined,
      held: rounds.held,
      draining: rounds.draining,
    };
  }

  /** All clients, in the order in which they first came. */
  clients(): Iterable<Readonly<Client>> {
    return this.#clients.values();
  }

  load(): Load {
    const clients = {
      ready: 0,
      busy: 0,
      training: 0,
      evaluating: 0,
      away: 0,
      unfit: 0,
    };
    for (const client of this.#clients.values()) clients[standingOf(client)]++;
    return {
      clients,
      lines: this.#sessions.size,
      bytesInFlight: this.#uploads.taken,
    };
  }

  // ---- rounds: events in, effects carried out ----

  #send(event: RoundEvent): void {
    this.#events.push(event);
    this.#goOn();
  }

  /**
   * Carries out what the last event asked for, then takes the next one. What asks a thousand clients takes turns with what they
   * send meanwhile.
   */
  #goOn(): void {
    if (this.#stepping || this.#rounds.at === undefined) return;
    this.#stepping = true;
    const began = performance.now();
    try {
      for (;;) {
        const effect = this.#effects.shift();
        if (effect !== undefined) this.#carryOut(effect);
        else {
          const event = this.#events.shift();
          if (event === undefined) break;
          this.#effects.push(...this.#rounds.step(event));
        }
        if (performance.now() - began > TURN) {
          this.#turnDue ??= setImmediate(() => {
            this.#turnDue = undefined;
            this.#goOn();
          });
          break;
        }
      }
    } finally {
      this.#stepping = false;
    }
    this.#saysWhatItWaitsFor();
  }

  /** Emits. A listener's mistake must not end a round. */
  #tell<E extends keyof AggregatorEvents>(
    event: E,
    ...args: AggregatorEvents[E]
  ): void {
    try {
      (this as EventEmitter).emit(event, ...args);
    } catch (error) {
      this.log.error({ err: error }, `a listener of "${event}" threw`);
    }
  }

  /** Once for all that happens at a turn. */
  #saysWhatItWaitsFor(): void {
    this.#sentenceDue ??= setImmediate(() => {
      this.#sentenceDue = undefined;
      const sentence = this.#rounds.waitsFor();
      if (sentence === this.#said) return;
      this.#said = sentence;
      this.#tell("waiting", sentence);
    });
  }

  #carryOut(effect: RoundEffect): void {
    switch (effect.type) {
      case "deadline":
        clearTimeout(this.#deadline);
        this.#phaseDue = performance.now() + effect.after;
        this.#deadline = setTimeout(
          () => this.#send({ type: "deadline", number: effect.number }),
          effect.after,
        );
        return;
      case "begin":
        return void this.#beginAttempt(effect.open);
      case "assign":
        return this.#assign(effect.client, effect.work, effect.lease);
      case "fold":
        return void this.#fold(effect.client, effect.work);
      case "late":
        return this.#late(effect.client, effect.work, effect.code);
      case "phase":
        // Plain training has one phase; what comes between several is the matter of the mode that has them.
        return;
      case "close":
        return void this.#commit(effect.open, effect.members);
      case "abandon":
        return this.#abandon(effect);
      case "finished":
        return void this.#finish();
      case "stopped":
        return this.#stopped(effect.reason, effect.failed);
    }
  }

  async #beginAttempt(open: Attempt): Promise<void> {
    // Where nobody is selected, an update may come from any client, and may have been admitted while the round before was open.
    const anybody = open.selected.length === 0;
    const asked = anybody ? [...this.#clients.keys()] : open.selected;
    const known = asked.map((id) => this.#clientOf(id).samples);
    const before = anybody ? (this.#attempt?.maxSamples ?? 0) : 0;
    const { maxSamples, mode } = this.settings;
    // Room for data that grew since the client said how many it has, and no more: the limit decides how fine the grid is.
    const limit = known.includes(null)
      ? maxSamples
      : 2 ** Math.ceil(Math.log2(2 * Math.max(1, ...(known as number[]))));
    const attempt: AttemptRecord = {
      ...open,
      maxSamples: Math.min(maxSamples, Math.max(before, limit)),
      key: this.#key,
      mode,
    };
    await this.#durably(async () => {
      await this.#ledger.beginAttempt(this.#opened.epoch, attempt);
      await this.#prepare(attempt);
      this.#send({ type: "begun" });
    });
  }

  async #prepare(attempt: AttemptRecord): Promise<void> {
    // The first time: copies of a large model, made on the way here.
    if (this.#openedAt === 0 && this.#updateBytes > LARGE) collectAll();
    this.#attempt = attempt;
    this.#openedAt = performance.now();
    this.#counted = 0;
    const { round, selected, goal } = attempt;
    await this.#desk.openFold({
      updates: mostUpdates(attempt),
      samples: attempt.maxSamples,
      staleness: this.#rounds.maxStaleness,
    });
    this.log.info(
      { round, attempt: attempt.attempt, selected: selected.length },
      "a round opens",
    );
    this.#tell("opened", { round, attempt: attempt.attempt, selected, goal });
  }

  /** This client's assignment of that work. */
  #given(client: string, work: Work): Assignment | undefined {
    return this.#assignments.get(assignmentId(this.#key, work, client));
  }

  #assign(client: string, work: Work, lease: number | undefined): void {
    const given = this.#given(client, work);
    const assignment =
      given === undefined || given.over !== undefined
        ? this.#newAssignment(client, work, {
            model: this.#models.current,
            settings: this.#trainSettings(client, work),
          })
        : given;
    clearTimeout(assignment.lease);
    if (lease === undefined) assignment.due = this.#phaseDue;
    else {
      assignment.due = performance.now() + lease;
      assignment.lease = setTimeout(
        () => this.#send({ type: "expired", client, work }),
        lease,
      );
    }
    this.#assignments.give(assignment);
  }

  #newAssignment(
    client: string,
    work: Work,
    from: Pick<Assignment, "model" | "settings">,
  ): Assignment {
    return {
      id: assignmentId(this.#key, work, client),
      client,
      task: "train",
      phase: this.#rounds.phases[work.phase],
      work,
      ...from,
      due: 0,
      lease: undefined,
      offer: undefined,
      folded: false,
      over: undefined,
    };
  }

  #trainSettings(client: string, work: Work): Assignment["settings"] {
    const { population, meanSamples } = this.#attempt!;
    const s = this.settings;
    return {
      algorithm: s.algorithm,
      algorithmSettings: s.algorithmSettings,
      localEpochs: s.localEpochs,
      batchSize: s.batchSize,
      learningRate: learningRateOf(s, work.round),
      initialLearningRate: s.learningRate,
      weightDecay: s.weightDecay,
      clipNorm: s.clipNorm,
      zeta: s.zeta,
      manIncludesLogits: s.manIncludesLogits,
      shuffle: s.shuffle,
      augmentation: s.augmentation,
      population,
      meanSamples,
      seed: createHash("sha256")
        .update([s.seed, work.round, work.attempt, client].join("\0"))
        .digest("hex"),
      grid: this.#algorithm.client.nextState
        ? stateGrid(mostUpdates(this.#attempt!), s.maxAbs)
        : undefined,
    };
  }

  #late(client: string, work: Work, code: "late" | "stale"): void {
    const assignment = this.#given(client, work);
    if (assignment === undefined) return;
    this.#assignments.end(assignment, code);
    this.#tell("missed", { client, round: work.round, code });
  }

  /**
   * A client says what it has in hand. What was given to it before a restart, and may still be counted, is taken up again;
   * what is older than its last counted update is not, for that is in a round already.
   */
  #takeUp(client: Client, pending: ReadonlySet<string>): void {
    if (pending.size === 0) return;
    const last = this.#ledger.lastCounted(client.id);
    for (const work of this.#rounds.outstanding()) {
      const id = assignmentId(this.#key, work, client.id);
      if (id === last?.assignment) return;
      if (!pending.has(id)) continue;
      const assignment =
        this.#assignments.get(id) ??
        this.#newAssignment(client.id, work, {
          model: undefined,
          settings: {},
        });
      if (assignment.folded || assignment.over !== undefined) continue;
      this.#assignments.inHand(assignment);
      this.#send({ type: "pending", client: client.id, work });
    }
  }

  async #fold(id: string, work: Work): Promise<void> {
    const assignment = this.#given(id, work)!;
    const { samples, metrics } = assignment.offer!;
    const { round, goal } = this.#attempt!;
    const staleness = round - work.round;
    const begun = performance.now();
    let norm: number;
    try {
      norm = await this.#desk.fold(assignment.id, id, samples, staleness);
    } catch (error) {
      this.log.error({ err: error }, "an admitted update could not be folded");
      return this.#send(brokenBy(error));
    }
    // Called off while it was folded: the client knows.
    if (assignment.over !== undefined) return;
    assignment.folded = true;
    this.#uploads.release(assignment.id);
    this.#clientOf(id).session?.send({
      type: "received",
      assignment: assignment.id,
    });
    const { clipUpdateNorm } = this.settings;
    const isClipped = clipUpdateNorm > 0 && norm > clipUpdateNorm;
    this.log.info(
      { client: id.slice(0, 32), round, staleness, norm },
      isClipped ? "an update is clipped and folded" : "an update is folded",
    );
    this.#tell("counted", {
      client: id,
      round,
      counted: ++this.#counted,
      goal,
      staleness,
      bytes: this.#updateBytes,
      norm,
      clipped: isClipped,
      foldSeconds: (performance.now() - begun) / 1000,
      trainSeconds: metrics.seconds,
    });
    this.#assignments.free(assignment);
  }

  #abandon({ open, reason }: Extract<RoundEffect, { type: "abandon" }>): void {
    const { round, attempt } = open;
    this.log.warn({ round, attempt }, `the attempt is abandoned: ${reason}`);
    this.#tell("abandoned", { round, attempt, reason });
    for (let phase = 0; phase < this.#rounds.phases.length; phase++)
      for (const assignment of this.#assignments
        .of({ round, attempt, phase })
        .values()) {
        this.#assignments.end(assignment, "abandoned");
        setImmediate(() => this.#sayWait(this.#clientOf(assignment.client)));
      }
    void this.#durably(() =>
      this.#ledger.abandonAttempt(this.#opened.epoch, round, attempt),
    );
  }

  // ---- the commit ----

  #commit(open: Attempt, members: Members): Promise<void> {
    const counted = [...members]
      .filter(([, { status }]) => status === "counted")
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([id, { work }]) => this.#given(id, work)!);
    const parts = {
      settings: this.settings,
      updateBytes: this.#updateBytes,
      desk: this.#desk,
      ledger: this.#ledger,
      epoch: this.#opened.epoch,
      durably: this.#durably,
      models: this.#models,
      uploads: this.#uploads,
      assignments: this.#assignments,
      clients: this.#clients,
      maxStaleness: this.#rounds.maxStaleness,
      openedAt: this.#openedAt,
      committed: this.#committed.bind(this),
    };
    return commitRound(parts, open, counted);
  }

  /** What follows a commit. */
  #committed(line: RoundLine, timings: RoundTimings, model: Blob): void {
    const { round, attempt, participants } = line;
    this.log.info(
      { round, attempt, counted: participants.length },
      "a round is committed",
    );
    this.#write(async (folder) => {
      await folder.round(line, timings);
      await this.#writeModel(round);
    });
    this.#tell("round", line, timings);
    if (
      round % this.settings.evaluateEvery === 0 ||
      round === this.settings.rounds
    )
      this.#evaluations.begin(
        round,
        model,
        rosterOf(this.#clients.values()).ids,
      );
    this.#send({ type: "committed" });
  }

  /** Writes to the run's folder after what was written before. What fails is said, and costs no round: the ledger has it all. */
  #write(work: (folder: RunFolder) => Promise<void>): void {
    const folder = this.#folder;
    if (folder === undefined) return;
    this.#writing = this.#writing.then(async () => {
      try {
        await work(folder);
      } catch (error) {
        this.log.error({ err: error }, "the run's folder cannot be written");
      }
    });
  }

  async #writeModel(round: number): Promise<void> {
    const { sha256, bytes } = this.#models.current;
    await this.#folder?.model(bytes, {
      ...(JSON.parse(this.#metadata["model"]) as object),
      round,
      sha256,
    });
  }

  // ---- lines and clients ----

  #clientOf(id: string): Client {
    let client = this.#clients.get(id);
    if (client === undefined) this.#clients.set(id, (client = newClient(id)));
    return client;
  }

  #welcome(session: Session): void {
    const hello = session.hello!;
    const client = this.#clientOf(session.client);
    const before = client.session;
    client.session = session;
    client.said = false;
    before?.close(4000, "replaced");
    // Until it has said something on its new line it is treated as it was on the old one.
    this.#expect(client);
    client.build = hello.capabilities.build;
    client.lacks = lackOf(this.#needs, hello.capabilities);
    if (client.lacks !== undefined)
      this.log.warn(
        { client: client.id.slice(0, 32) },
        `a client cannot take part: it lacks ${client.lacks}`,
      );
    else if (!client.registered || client.samples !== hello.samples) {
      client.registered = true;
      client.samples = hello.samples;
      void this.#durably(() =>
        this.#ledger.register(this.#opened.epoch, {
          id: client.id,
          samples: hello.samples,
        }),
      );
    }
    const sameRun = hello.run === this.run;
    const pending = new Set(
      sameRun ? hello.pending.map(({ assignment }) => assignment) : [],
    );
    const last = this.#ledger.lastCounted(client.id);
    if (
      last !== undefined &&
      (!sameRun || hello.counted?.assignment !== last.assignment) &&
      !pending.has(last.assignment)
    )
      this.log.warn(
        { client: client.id.slice(0, 32), round: last.round },
        "a client has lost its state and starts at zero",
      );
    const lost = this.#assignments.reconcile(client, pending);
    session.send({
      type: "welcome",
      epoch: this.#opened.epoch,
      run: this.run,
      limits: {
        frameBytes: MAX_FRAME_BYTES,
        windowBytes: this.settings.windowBytes,
        blobBytes: this.#updateBytes,
      },
      heartbeat: this.settings.heartbeat,
      bearer: session.bearer,
      lastCounted: last && {
        round: last.round,
        assignment: last.assignment,
        sha256: last.sha256,
      },
      round: this.#models.round + 1,
      model: nameOf(this.#models.current),
    });
    this.#tell("client", {
      client: client.id,
      change: "joined",
      reason: client.lacks && `it lacks ${client.lacks}`,
    });
    if (this.#rounds.at === "finished") session.send(this.#farewell());
    if (lost !== undefined)
      this.#send({
        type: "gone",
        client: client.id,
        work: lost.work,
        code: "left",
      });
    this.#takeUp(client, pending);
  }

  /** Waits for a client that is away, or has not said anything yet; at the end it is gone. */
  #expect(client: Client, patience = this.settings.absence): void {
    clearTimeout(client.absence);
    client.absence = setTimeout(() => this.#gone(client, "left"), patience);
  }

  #gone(client: Client, code: string): void {
    clearTimeout(client.absence);
    client.ready = false;
    this.#assignments.withdraw(client);
    this.#rosterChanged();
    this.#evaluations.gone(client.id);
    this.log.info(
      { client: client.id.slice(0, 32) },
      `a client is gone: ${code}`,
    );
    this.#lost(client.id, code);
  }

  /** Tells the round that nothing will come from this client. */
  #lost(client: string, code: string): void {
    for (const { work } of this.#assignments.openOf(client)) {
      this.#tell("missed", { client, round: work.round, code });
      this.#send({ type: "gone", client, code, work });
    }
  }

  #lineClosed(session: Session): void {
    this.#sessions.delete(session);
    this.#uploads.lineClosed(session);
    if (this.#sessions.size === 0) this.#allGone?.();
    const client = this.#clients.get(session.client);
    if (client?.session !== session) return;
    client.session = undefined;
    client.said = false;
    this.#tell("client", { client: client.id, change: "left" });
    this.#rosterChanged();
    if (!this.#closing) this.#expect(client);
  }

  #rosterChanged(): void {
    this.#rosterDue ??= setImmediate(() => {
      this.#rosterDue = undefined;
      this.#send({
        type: "roster",
        roster: rosterOf(this.#clients.values()),
      });
    });
  }

  #message(session: Session, message: ClientMessage): void {
    const client = this.#clientOf(session.client);
    switch (message.type) {
      case "ready":
      case "busy":
        return this.#stand(
          client,
          message.type === "busy" ? message.reason : undefined,
        );
      case "bye":
        session.close(1000, "bye");
        return this.#gone(client, "bye");
      case "abort":
        return this.#uploads.aborted(session, message.transfer);
      case "accept":
        return;
      case "progress": {
        const assignment = this.#assignments.own(client, message.assignment);
        if (assignment === undefined) return;
        const { batch, batches, loss } = message;
        const { round } = assignment.work;
        this.#tell("progress", {
          client: client.id,
          round,
          batch,
          batches,
          loss,
        });
        return;
      }
      case "decline":
      case "failed":
        return this.#gaveUp(client, message);
      case "offer":
        return this.#offer(client, session, message);
      case "report":
        return this.#report(client, session, message);
      default:
        return session.complain(
          "out-of-order",
          `"${message.type}" has no place now`,
        );
    }
  }

  #stand(client: Client, busy: string | undefined): void {
    clearTimeout(client.absence);
    client.said = true;
    client.ready = busy === undefined;
    client.reason = busy;
    this.#tell("client", {
      client: client.id,
      change: client.ready ? "ready" : "busy",
      reason: busy,
    });
    this.#rosterChanged();
    if (!client.ready) return;
    if (client.lacks !== undefined) {
      client.session?.send({
        type: "wait",
        reason: `This run needs ${client.lacks}, which this client does not have.`,
      });
      return;
    }
    this.#send({ type: "back", client: client.id });
    this.#assignments.flush(client);
    // Behind the roster, so that the sentence counts this client.
    setImmediate(() => this.#sayWait(client));
  }

  /** Tells a client that stands by what the run waits for. */
  #sayWait(client: Client): void {
    if (client.ready && !client.inHand && this.#rounds.at !== "finished")
      client.session?.send({
        type: "wait",
        reason: this.#rounds.waitsFor().slice(0, 1024),
        retryAfter: this.#retryAfter(client),
      });
  }

  /**
   * When a client whose line breaks shall dial again: as the rounds have it, but while it still counts as here. Who stays away
   * for longer is not drawn, and the round may be waiting for just these clients.
   */
  #retryAfter({ id }: Client): number {
    const soon = this.settings.absence * (0.25 + 0.25 * Math.random());
    return Math.round(Math.min(this.#rounds.retryAfter(id), soon));
  }

  #gaveUp(
    client: Client,
    message: ClientMessageOf<"decline"> | ClientMessageOf<"failed">,
  ): void {
    const assignment = this.#assignments.own(client, message.assignment);
    if (assignment === undefined) return;
    const what = message.type === "decline" ? "declined" : "failed";
    this.log.warn(
      {
        client: client.id.slice(0, 32),
        round: assignment.work.round,
        code: message.code,
      },
      `a client ${what} its assignment${message.message ? `: ${message.message}` : ""}`,
    );
    if (assignment.task === "evaluate") {
      this.#assignments.forget(assignment);
      this.#assignments.free(assignment);
      return this.#evaluations.answered(assignment, undefined);
    }
    if (assignment.folded) return;
    this.#dropUpdate(assignment.id);
    this.#assignments.free(assignment);
    const code = `${what}-${message.code}`;
    this.#tell("missed", {
      client: client.id,
      round: assignment.work.round,
      code,
    });
    this.#send({
      type: "gone",
      client: client.id,
      work: assignment.work,
      code,
    });
  }

  #report(
    client: Client,
    session: Session,
    { assignment: id, evaluation }: ClientMessageOf<"report">,
  ): void {
    const assignment = this.#assignments.own(client, id);
    if (assignment?.task !== "evaluate")
      return this.#assignments.refuse(client, id, {
        code: "unknown-assignment",
        message: "this client has no such evaluation in this run",
      });
    this.#assignments.forget(assignment);
    const { count, correct } = evaluation;
    if (correct > count) {
      this.#assignments.refuse(client, id, {
        code: "other",
        message: `"evaluation.correct" expected at most ${count}, got ${correct}`,
      });
      this.#assignments.free(assignment);
      return this.#evaluations.answered(assignment, undefined);
    }
    session.send({ type: "received", assignment: id });
    this.#assignments.free(assignment);
    this.#evaluations.answered(assignment, evaluation);
  }

  #offer(
    client: Client,
    session: Session,
    offer: ClientMessageOf<"offer">,
  ): void {
    const last = this.#ledger.lastCounted(client.id);
    if (last?.assignment === offer.assignment && last.sha256 === offer.sha256)
      return session.send({
        type: "committed",
        assignment: last.assignment,
        round: last.round,
        model: nameOf(this.#models.current),
      });
    const assignment = this.#assignments.own(client, offer.assignment);
    const refusal = refusalOf(OFFER_CHECKS, {
      known:
        assignment?.task === "train" || last?.assignment === offer.assignment,
      over: assignment?.over,
      sha256: offer.sha256,
      before:
        last?.assignment === offer.assignment
          ? last.sha256
          : assignment?.offer?.sha256,
      bytes: offer.bytes,
      expectedBytes: this.#updateBytes,
      samples: offer.samples,
      maxSamples: this.#attempt?.maxSamples ?? this.settings.maxSamples,
    });
    if (refusal !== undefined || assignment === undefined)
      return this.#refuseForGood(client, offer.assignment, refusal!);
    if (assignment.folded)
      return session.send({ type: "received", assignment: assignment.id });
    assignment.offer = offer;
    this.#assignments.inHand(assignment);
    this.#uploads.offer(session, offer);
  }

  /** Refuses an update; the round does not wait for another one from this client. */
  #refuseForGood(client: Client, id: string, refusal: Refusal): void {
    this.#assignments.refuse(client, id, refusal);
    const assignment = this.#assignments.own(client, id);
    if (assignment?.task !== "train" || assignment.folded) return;
    assignment.over ??= refusal.code;
    this.#dropUpdate(id);
    this.#assignments.free(assignment);
    this.#send({
      type: "refused",
      client: client.id,
      work: assignment.work,
      code: refusal.code,
    });
  }

  /** Its update is of no use any more. The desk may be at it, and does what it is told in order. */
  #dropUpdate(assignment: string): void {
    this.#uploads.release(assignment, this.#desk.drop(assignment));
  }

  /** An update has arrived whole. */
  async #check(id: string, sha256: string, bytes: Uint8Array): Promise<void> {
    let refusal: Refusal | undefined;
    try {
      refusal = await this.#desk.check(id, sha256, bytes);
    } catch (error) {
      this.log.error({ err: error }, "an update could not be looked at");
      return this.#send(brokenBy(error));
    }
    const assignment = this.#assignments.get(id);
    if (assignment === undefined || assignment.over !== undefined) {
      // The round closed meanwhile, and the client knows.
      await this.#desk.drop(id);
      return;
    }
    const client = this.#clientOf(assignment.client);
    if (refusal !== undefined) this.#refuseForGood(client, id, refusal);
    else
      this.#send({
        type: "admitted",
        client: client.id,
        work: assignment.work,
      });
  }

  #lookAfter(): void {
    const now = performance.now();
    void inTurns(this.#sessions, (session) => session.beat(now));
    this.#uploads.sweep(now);
    void this.#sendAwayRevoked();
  }

  /** A key that is revoked while its client is connected loses its line, and what it has in hand. */
  async #sendAwayRevoked(): Promise<void> {
    if (this.admission.kind !== "enrolled") return;
    try {
      const enrolled = await this.admission.keys.enrolled();
      for (const client of this.#clients.values()) {
        if (client.session === undefined || enrolled.has(client.id)) continue;
        client.session.close(4001, "not-admitted");
        this.#gone(client, "revoked");
      }
    } catch (error) {
      this.log.error({ err: error }, "the enrolled keys cannot be read");
    }
  }

  // ---- the end ----

  async #openDesk(): Promise<Desk> {
    const { model, algorithm } = this.#options;
    const { maxAbs, maxNorm, clipUpdateNorm } = this.settings;
    const settings = {
      algorithm: this.#algorithm.name,
      algorithmSettings: this.settings.algorithmSettings,
      layout: model.layout,
      metadata: this.#metadata,
      maxAbs,
      maxNorm: maxNorm || Infinity,
      clipUpdateNorm: clipUpdateNorm || Infinity,
    };
    const own =
      algorithm && !BUILT_IN.includes(algorithm) ? algorithm : undefined;
    // An algorithm of the caller's own is code, which cannot be sent to a worker.
    if (this.#updateBytes > WORKER_FROM && own === undefined)
      return openDeskInWorker(settings);
    const arithmetic = await wasmArithmetic().catch((error: unknown) => {
      this.log.warn({ err: error }, "folding without the WebAssembly kernels");
      return plain;
    });
    return openDesk(settings, arithmetic, own);
  }

  #farewell(): OutgoingServerMessage {
    return {
      type: "finished",
      reason: `All ${this.settings.rounds} rounds are done.`,
      model: nameOf(this.#models.current),
    };
  }

  /** All rounds are committed: clients may go once the last evaluations are in. */
  async #finish(): Promise<void> {
    clearTimeout(this.#deadline);
    await this.#evaluations.idle();
    await this.#summarise("All rounds are done.");
    await inTurns(this.#clients.values(), ({ session }) =>
      session?.send(this.#farewell()),
    );
    this.log.info({ rounds: this.#models.round }, "the run is finished");
    this.#resolve(this.#ending("finished", "all rounds are done"));
  }

  #stopped(reason: string, failed: boolean): void {
    clearTimeout(this.#deadline);
    this.#evaluations.cut();
    this.log.info(
      { committed: this.#models.round },
      `the run stops: ${reason}`,
    );
    void this.#summarise(`Stopped: ${reason}.`).then(() =>
      this.#resolve(this.#ending(failed ? "failed" : "stopped", reason)),
    );
  }

  #ending(reason: Ending["reason"], message: string): Ending {
    return {
      reason,
      message,
      rounds: this.#models.round,
      model: this.#models.current.bytes,
    };
  }

  async #summarise(end: string): Promise<void> {
    const { algorithm, rounds, zeta } = this.settings;
    this.#write((folder) =>
      folder.summary(
        [
          "# Run",
          "",
          `- Rounds committed: ${this.#models.round} of ${rounds}`,
          `- Algorithm: ${algorithm}, MAN's coefficient ${zeta}`,
          `- Registered clients: ${rosterOf(this.#clients.values()).population}`,
          `- Model: model/weights.safetensors (SHA-256 ${this.#models.current.sha256})`,
          ...resultLines(this.#evaluated),
          `- ${end}`,
          "",
        ].join("\n"),
      ),
    );
    await this.#writing;
  }

  async #close(): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    clearInterval(this.#beat);
    clearTimeout(this.#deadline);
    this.#assignments.close();
    if (this.#rosterDue) clearImmediate(this.#rosterDue);
    if (this.#sentenceDue) clearImmediate(this.#sentenceDue);
    if (this.#turnDue) clearImmediate(this.#turnDue);
    this.#evaluations.cut();
    for (const client of this.#clients.values()) clearTimeout(client.absence);
    for (const session of this.#sessions) {
      if (this.#rounds.at === "finished") session.close(1000, "finished");
      else {
        // Spread, so that a fleet does not come back at one moment.
        session.send({
          type: "wait",
          reason: "The aggregator restarts.",
          retryAfter: Math.round(RESTART * (0.5 + Math.random())),
        });
        session.close(1012, "restarting");
      }
    }
    this.#sessions.clear();
    await this.#writing;
    await this.#desk.close();
    await this.#ledger.close();
  }
}

/** The most updates that the attempt's fold can hold. */
const mostUpdates = ({ selected, goal }: Attempt): number =>
  Math.max(selected.length, goal);

function resultLines(evaluated: EvaluationLine | undefined): string[] {
  if (evaluated === undefined) return [];
  const { round, test, federated } = evaluated;
  const line = (where: string, { accuracy, loss, count }: EvaluationResult) =>
    `- Round ${round} ${where}: accuracy ${(100 * accuracy).toFixed(2)} %, cross-entropy ${loss.toFixed(4)} (${count} examples)`;
  return [
    ...(test ? [line("on the test data", test)] : []),
    ...(federated
      ? [line(`on the hold-outs of ${federated.clients} clients`, federated)]
      : []),
  ];
}

function stateOf(client: Client): string {
  if (client.lacks !== undefined) return `lacks ${client.lacks}`;
  if (client.inHand !== undefined)
    return client.inHand.task === "train"
      ? `works on round ${client.inHand.work.round}`
      : `evaluates round ${client.inHand.work.round}`;
  if (client.session === undefined) return "away";
  return client.ready
    ? "ready"
    : `busy${client.reason ? `: ${client.reason}` : ""}`;
}
