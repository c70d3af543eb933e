import { randomBytes } from "node:crypto";
import { EventEmitter } from "node:events";
import { printable } from "../../runtime/protocol/printable.js";
import type { ModelDescription } from "../../runtime/models/description.js";
import type { Socket } from "../../runtime/platform/platform.js";
import { openAssignments, type Assignments } from "../clients/assignments.js";
import { openAttempts, type Attempts } from "./attempts.js";
import { clientMessages } from "./message-handlers.js";
import { clientIn, rosterOf, type Client } from "../clients/clients.js";
import { commitRound } from "./commit.js";
import { definitionOf, type RunDefinition } from "./definition.js";
import { retryWhileFull } from "../storage/retry.js";
import { openEvaluations, type EvaluationRecord, type Evaluations } from "./evaluations.js";
import type { Admission } from "../sessions/authentication.js";
import { openSessions } from "../sessions/open-sessions.js";
import { calm, silent, type Log, type OthersLog } from "../log.js";
import { openModels } from "../storage/model-cache.js";
import { openRun, type OpenedRun } from "./open-run.js";
import type { RunContext } from "./context.js";
import { openRegistry, type Registry } from "./registry.js";
import { driveRounds, type Asked, type RoundDriver } from "./driver.js";
import type { Rounds } from "../rounds/engine.js";
import { roundsFor } from "../rounds/modes.js";
import type {
  AggregatorEvents,
  AggregatorOptions,
  Ending,
  Load,
  Situation,
  Status,
} from "./options.js";
import type { Origin, Session, SessionHost } from "../sessions/session.js";
import type { AggregatorSettings } from "../settings.js";
import { loadOf, situationOf, statusOf } from "./status.js";
import type { Blob } from "../storage/ledger.js";
import { summaryOf } from "./summary.js";
import { openRoster } from "./roster.js";
import { openUpdates, type Updates } from "./updates.js";
import { openUploads, type Uploads } from "../clients/uploads.js";

export type { AggregatorEvents, AggregatorOptions, Ending, Situation, Status } from "./options.js";
export type { EvaluationRecord, EvaluationResult } from "./evaluations.js";
export type { RoundRecord, RoundTimings } from "./round-record.js";

/** How often sessions and uploads are checked, in milliseconds. */
const BEAT = 1000;

/**
 * The aggregator of one run: connections come in by `attach` (from server.ts, or from a
 * simulation's memory), rounds go on by themselves, and `done` tells how it ended. All decisions
 * about rounds are those of an engine in rounds/; this class carries them out.
 */
export class Aggregator extends EventEmitter<AggregatorEvents> {
  readonly settings: AggregatorSettings;
  readonly admission: Admission;
  readonly log: Log;
  /** For what others can cause, members too, who may be many. */
  readonly othersLog: OthersLog;
  /**
   * Resolves when all rounds are committed and evaluated, or the run has stopped; never rejects.
   */
  readonly done: Promise<Ending>;

  #options: AggregatorOptions;
  readonly #definition: RunDefinition;
  readonly #rounds: Rounds;
  readonly #driver: RoundDriver;
  readonly #models = openModels();
  readonly #clients = new Map<string, Client>();
  readonly #sessions = openSessions();
  readonly #uploads: Uploads;
  readonly #assignments: Assignments;
  readonly #evaluations: Evaluations;

  // From `start` on.
  #context!: RunContext;
  #updates!: Updates;
  #attempts!: Attempts;
  #registry!: Registry;
  #host!: SessionHost;
  #beat: NodeJS.Timeout | undefined;
  /** Milliseconds between two looks, and when the last one was. */
  #pulse = BEAT;
  #looked = 0;

  #resolve!: (ending: Ending) => void;
  #evaluated: EvaluationRecord | undefined;
  #closing = false;

  /**
   * @throws ConfigError `settings`, `client-state` (of an algorithm in buffered rounds or with a
   * clip), ModelError `unknown-algorithm`, `algorithm-settings`.
   */
  constructor(options: AggregatorOptions) {
    super();
    this.#options = options;
    this.#definition = definitionOf(options);
    const { settings, algorithm, codec, updateBytes } = this.#definition;
    this.settings = settings;
    this.admission = options.admission ?? { kind: "any" };
    this.log = options.log ?? silent;
    this.othersLog = calm(this.log);
    this.#rounds = roundsFor(settings, algorithm);
    this.#driver = driveRounds({
      rounds: this.#rounds,
      carryOut: (effect) => this.#carryOut(effect),
      waiting: (sentence) => this.#tell("waiting", sentence),
    });
    this.#uploads = openUploads({
      budgetBytes: Math.max(settings.budgetBytes, 2 * updateBytes),
      windowBytes: settings.windowBytes,
      stall: settings.stall,
      minimumRate: settings.minimumRate,
      arrived: (update, bytes) => void this.#updates.arrived(update, bytes),
      evicted: (assignment) =>
        this.othersLog.warn({ assignment }, "an upload lost its room to one that waits"),
    });
    this.#assignments = openAssignments({
      codec: codec.name,
      clientOf: clientIn(this.#clients),
      release: (id) => this.#updates.drop(id),
      refused: (client, assignment, { code, message }) => {
        this.othersLog.warn(
          { client: client.id.slice(0, 32), assignment, code },
          "refused an update",
          message,
        );
        this.#tell("refused", { client: client.id, code, message });
      },
    });
    this.#evaluations = openEvaluations({
      seed: settings.seed,
      fraction: settings.evaluateFraction,
      maxSamples: settings.maxSamples,
      deadline: settings.evaluateDeadline,
      test: options.evaluate,
      log: this.log,
      give: (assignment) => this.#assignments.give(assignment),
      takeBack: (assignment) => {
        this.#assignments.end(assignment, "late");
        this.#assignments.forget(assignment);
      },
      doubted: (doubt) => {
        const { client, round, reason } = doubt;
        const facts = { client: client.slice(0, 32), round };
        this.log.warn(facts, `a client's figures cannot be right: ${reason}`);
        this.#tell("doubted", doubt);
      },
      done: (record) => {
        this.#evaluated = record;
        this.#context.folder?.evaluation(record);
        this.#tell("evaluation", record);
      },
    });
    this.done = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  /** The run's id. */
  get run(): string {
    return this.#context.run;
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
   * @throws ConfigError `run-exists`, `nothing-to-resume`, `resume` (another model or algorithm),
   * `state-locked`, `state-damaged`.
   */
  async start(): Promise<void> {
    const from = await openRun(this.#definition, this.#options, this.log);
    // The weights to begin with are in the ledger now, and not needed twice.
    const { model } = this.#options;
    const weights = new Float32Array(0);
    this.#options = { ...this.#options, model: { ...model, weights } };
    this.#join(from);
    try {
      await this.#begin(from);
    } catch (error) {
      this.#registry.close();
      this.#context.roster.close();
      await from.reducer.close();
      await from.ledger.close();
      throw error;
    }
  }

  async #begin(from: OpenedRun): Promise<void> {
    const { run, epoch, last, attempt, clients } = from.opened;
    const { round } = last.record;
    this.#models.keep(round, last.model);
    for (const client of clients)
      this.#registry.remember(client, attempt?.selected.includes(client.id) ?? false);
    this.log.info(
      { run, epoch, committed: round, build: from.reducer.build },
      attempt
        ? `the run goes on with round ${attempt.round}, attempt ${attempt.attempt}`
        : "the run begins",
    );
    if (attempt !== undefined) await this.#attempts.open(attempt);
    this.#pulse = Math.min(BEAT, this.settings.heartbeat / 2);
    this.#looked = performance.now();
    this.#beat = setInterval(() => this.#lookAfter(), this.#pulse);
    this.#context.roster.changed();
    this.#driver.start(round, attempt);
    if (this.#options.hold) this.hold();
  }

  /** Hands each part what it needs of the others. */
  #join({ ledger, opened, reducer, folder }: OpenedRun): void {
    const { settings } = this;
    const { run, epoch, latest } = opened;
    const context: RunContext = {
      run,
      definition: this.#definition,
      log: this.log,
      othersLog: this.othersLog,
      rounds: this.#rounds,
      send: (event) => this.#driver.send(event),
      tell: (event, ...args) => this.#tell(event, ...args),
      ledger,
      epoch,
      withRetry: retryWhileFull({
        log: this.log,
        pause: settings.pause,
        send: (event) => this.#driver.send(event),
        isClosing: () => this.#closing,
      }),
      reducer,
      models: this.#models,
      uploads: this.#uploads,
      assignments: this.#assignments,
      evaluations: this.#evaluations,
      folder,
      clients: this.#clients,
      clientOf: clientIn(this.#clients),
      roster: openRoster({
        settings,
        rounds: this.#rounds,
        send: (event) => this.#driver.send(event),
        clients: this.#clients,
        clientsAreAll: this.#options.clientsAreAll ?? false,
      }),
    };
    this.#context = context;
    this.#updates = openUpdates(context, () => this.#attempts.latest);
    this.#attempts = openAttempts(context, {
      key: latest?.key ?? randomBytes(32).toString("hex"),
      latest,
      updates: this.#updates,
      due: () => this.#driver.due,
    });
    this.#registry = openRegistry(context, (client, pending) =>
      this.#attempts.takeUp(client, pending),
    );
    this.#host = {
      run,
      admission: this.admission,
      log: this.log,
      othersLog: this.othersLog,
      heartbeat: settings.heartbeat,
      helloDeadline: settings.helloDeadline,
      windowBytes: settings.windowBytes,
      hasRoomFor: (client) => this.#clients.has(client) || this.#clients.size < settings.maxClients,
      admitted: (session) => this.#registry.welcome(session),
      message: clientMessages(context, this.#registry, this.#updates),
      chunk: (session, chunk) => this.#uploads.chunk(session, chunk),
      blob: (sha256) => this.blob(sha256),
      closed: (session) => this.#sessionClosed(session),
      refused: (reason, address) => this.turnedAway(reason, address),
    };
  }

  /** True once started, also after the run has ended. */
  get begun(): boolean {
    return this.#rounds.at !== undefined;
  }

  /** Accepts connections: started and not ended. */
  get open(): boolean {
    return this.#rounds.at !== undefined && !this.#closing;
  }

  /** Opens rounds: `readyz` says so to whoever sends clients here. */
  get ready(): boolean {
    return this.open && !this.#rounds.draining;
  }

  /** Gives the aggregator one more connection: a WebSocket, or one end of a pipe in memory. */
  attach(connection: Socket, origin: Origin): void {
    if (!this.open) return connection.close(1012, "restarting");
    this.#sessions.add(connection, origin, this.#host);
  }

  /** Whether this bearer opens the models: it belongs to an open session. */
  opens(bearer: string): boolean {
    return this.#sessions.have(bearer);
  }

  /** A model that may be fetched now. */
  blob(sha256: string): Uint8Array | undefined {
    return this.#models.bytesOf(sha256) ?? this.#assignments.model(sha256);
  }

  /** Opens no further round; the one in progress is still finished. */
  drain(): void {
    this.#driver.send({ type: "drain" });
  }

  /**
   * Opens no further round before `release`; the one in progress is still finished. A restart does
   * not remember it.
   */
  hold(): void {
    this.#driver.send({ type: "hold" });
  }

  release(): void {
    this.#driver.send({ type: "release" });
  }

  /**
   * Ends now: what was committed is on disk, an attempt in progress is gone on with after a resume.
   * Clients are told to come back; those of a finished run get some time to fetch the model and
   * leave by themselves. Safe to call at any time, also twice.
   */
  async stop(reason = "stopped"): Promise<void> {
    if (this.#rounds.at === undefined) return;
    this.#driver.send({ type: "stop", reason });
    const ending = await this.done;
    if (ending.reason === "finished") await this.#sessions.none(this.settings.farewell);
    await this.#close();
  }

  status(): Status {
    return statusOf(this.run, this.settings, this.#rounds, this.#models, this.clients());
  }

  situation(): Situation {
    return situationOf(this.#rounds, this.committed, this.#driver.due);
  }

  /** All clients, in the order in which they first came. */
  clients(): Iterable<Readonly<Client>> {
    return this.#clients.values();
  }

  load(): Load {
    return loadOf(this.clients(), this.#sessions.count, this.#uploads.taken);
  }

  /** Tells that a connection or a client was refused. */
  turnedAway(reason: string, address = "unknown"): void {
    this.#tell("turnedAway", { reason: printable(reason), address });
  }

  /** Emits. A listener's mistake must not end a round. */
  #tell<E extends keyof AggregatorEvents>(event: E, ...args: AggregatorEvents[E]): void {
    try {
      (this as EventEmitter).emit(event, ...args);
    } catch (error) {
      this.log.error({ err: error }, `a listener of "${event}" threw`);
    }
  }

  #carryOut(effect: Asked): void {
    const attempts = this.#attempts;
    const { clientOf } = this.#context;
    switch (effect.type) {
      case "begin":
        return void attempts.begin(effect.open);
      case "assign":
        return attempts.assign(effect.client, effect.work, effect.lease);
      case "fold":
        return void this.#updates.fold(attempts.given(effect.client, effect.work)!);
      case "late":
        return attempts.late(effect.client, effect.work, effect.code);
      case "phase":
        // Plain training has one phase; what comes between several is the matter of the mode that
        // has them.
        return;
      case "close":
        return void commitRound(this.#context, attempts, effect);
      case "abandon":
        for (const { client } of attempts.abandon(effect.open, effect.reason))
          setImmediate(() => this.#registry.sendWait(clientOf(client)));
        return;
      case "finished":
        return void this.#finish();
      case "stopped":
        return this.#stopped(effect.reason, effect.failed);
    }
  }

  #sessionClosed(session: Session): void {
    this.#sessions.closed(session);
    this.#uploads.sessionClosed(session);
    this.#registry.away(session);
  }

  #lookAfter(): void {
    const now = performance.now();
    // Late by more than a beat: the process was stopped, or its machine slept.
    const late = now - this.#looked - this.#pulse;
    this.#sessions.beat(now, late > this.#pulse ? late : 0);
    this.#looked = now;
    this.#uploads.sweep(now);
    this.#forget(this.#registry.forgettable(now));
    if (this.admission.kind === "enrolled") void this.#registry.dropRevoked(this.admission.keys);
  }

  #forget(gone: readonly Client[]): void {
    for (const { id } of gone) {
      this.#clients.delete(id);
      this.log.info({ client: id.slice(0, 32) }, "a client that was away for long is forgotten");
      this.#tell("client", { client: id, change: "forgotten" });
    }
    if (gone.length > 0) this.#context.roster.changed();
  }

  /** All rounds are committed: clients may go once the last evaluations are in. */
  async #finish(): Promise<void> {
    await this.#evaluations.idle();
    await this.#summarise("All rounds are done.");
    await this.#registry.sendFinished();
    this.log.info({ rounds: this.#models.round }, "the run is finished");
    this.#resolve(this.#ending("finished", "all rounds are done"));
  }

  #stopped(reason: string, failed: boolean): void {
    this.#evaluations.cut();
    this.log.info({ committed: this.#models.round }, `the run stops: ${reason}`);
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
    this.#context.folder?.summary(() => {
      const { population } = rosterOf(this.clients(), this.settings);
      return summaryOf(this.settings, this.#models, population, this.#evaluated, end);
    });
    await this.#context.folder?.written();
  }

  async #close(): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    clearInterval(this.#beat);
    this.#driver.close();
    this.#assignments.close();
    this.#evaluations.cut();
    this.#registry.close();
    this.#context.roster.close();
    this.#sessions.close(this.#rounds.at === "finished");
    await this.#context.folder?.written();
    await this.#context.reducer.close();
    await this.#context.ledger.close();
  }
}
