import { randomBytes } from "node:crypto";
import { EventEmitter } from "node:events";
import { printable } from "../../runtime/protocol/printable.js";
import type { Normalisation } from "../../runtime/data/dataset.js";
import type { ModelDescription } from "../../runtime/models/description.js";
import type { Socket } from "../../runtime/platform/platform.js";
import { modelFor, openAssignments } from "../clients/assignments.js";
import { assignmentIds, openAttempts } from "./attempts.js";
import { sessionHandlers } from "./message-handlers.js";
import { clientIn, type Client } from "../clients/clients.js";
import { normalisationBy, statisticsInWords } from "../clients/statistics.js";
import { definitionOf, type RunDefinition } from "./definition.js";
import { effectRunner } from "./effects.js";
import { openEnd, type RunEnd } from "./ending.js";
import { retryWhileFull } from "../storage/retry.js";
import { discreetly } from "./discretion.js";
import { testOf } from "./server-evaluation.js";
import { openEvaluations } from "./evaluations.js";
import type { Admission } from "../sessions/authentication.js";
import { openSessions, type Sessions } from "../sessions/open-sessions.js";
import { calm, silent, type Log, type OthersLog } from "../log.js";
import { openModels } from "../storage/model-cache.js";
import { asksForStatistics, openRun, type OpenedRun } from "./open-run.js";
import type { RunContext } from "./context.js";
import { openLeaf } from "./leaf/leaf.js";
import { openRegistry, type Registry } from "./registry.js";
import { driveRounds, type RoundDriver } from "./driver.js";
import type { Rounds } from "../rounds/engine.js";
import { roundsFor } from "../rounds/modes.js";
import type {
  AggregatorEvents,
  AggregatorOptions,
  Ending,
  Load,
  Situation,
  Status,
  Tell,
} from "./options.js";
import type { ModelStore } from "../sessions/downloads.js";
import type { Origin, SessionContext } from "../sessions/session.js";
import type { AggregatorSettings } from "../settings.js";
import { secureInWords } from "./secure.js";
import { loadOf, situationOf, statusOf } from "./status.js";
import { openEmbedded } from "../storage/embedded.js";
import type { Blob, StatisticsRecord } from "../storage/ledger.js";
import type { Spent } from "./privacy.js";
import { openRoster } from "./roster.js";
import { openSecurePhases } from "./secure-phases.js";
import { openStatistics, type StatisticsPhase } from "./statistics.js";
import { openThreshold, type ThresholdPhase } from "./threshold.js";
import type { TakenThreshold } from "../clients/threshold.js";
import { openUploads } from "../clients/uploads.js";
import { startUpkeep } from "./upkeep.js";

export type { AggregatorEvents, AggregatorOptions, Ending, Situation, Status } from "./options.js";
export type { EvaluationRecord, EvaluationResult } from "./evaluation-record.js";
export type { RoundRecord, RoundTimings } from "./round-record.js";

/**
 * The aggregator of one run. Connections come in by `attach` (from server.ts, or from a
 * simulation), rounds run by themselves, and `done` tells how the run ended. All decisions about
 * rounds are those of an engine in rounds/, and effects.ts carries them out; this class opens the
 * run, joins its parts and closes them.
 */
export class Aggregator extends EventEmitter<AggregatorEvents> {
  readonly settings: AggregatorSettings;
  readonly admission: Admission;
  readonly log: Log;
  /** For events that others can trigger, members too. */
  readonly othersLog: OthersLog;
  /** The run's id. */
  readonly run: string;
  readonly description: ModelDescription;
  /** Names of the inputs' channels (last axis), where the model knows them. */
  readonly channelNames: readonly string[] | undefined;
  /** The run's folder, where it has one. */
  readonly folder: string | undefined;
  /**
   * Resolves when all rounds are committed and evaluated, or the run has stopped; never rejects.
   */
  readonly done: Promise<Ending>;
  readonly #joined: Joined;
  readonly #given: Normalisation | undefined;
  #stopping = false;
  #closing = false;

  /**
   * Opens the run's folder and starts the run, or resumes it. Listeners that are attached as soon
   * as the promise resolves miss no event.
   * @throws ConfigError `settings`, `client-state` (of an algorithm in buffered rounds or with a
   * clip), `normalisation` (asked for beside a model that brings one), ModelError `unknown-algorithm`, `algorithm-settings`; with nothing written.
   * @throws ConfigError `run-exists`, `nothing-to-resume`, `resume` (another model or algorithm),
   * `state-locked`, `state-damaged`, `state-unusable`.
   */
  static async open(options: AggregatorOptions): Promise<Aggregator> {
    const opened = await openRun(definitionOf(options), options, options.log ?? silent);
    const { definition } = opened;
    const asks = asksForStatistics(definition, opened.opened);
    const { latest } = opened.opened;
    const rounds = roundsFor(definition.settings, definition.combining, asks, latest);
    const aggregator = new Aggregator(options, definition, rounds, opened);
    try {
      await aggregator.#begin(opened, options.hold ?? false);
    } catch (error) {
      await aggregator.#close();
      throw error;
    }
    return aggregator;
  }

  private constructor(
    // One after the other, so that nothing keeps the weights to begin with: they are in the ledger.
    { model, folder, admission, log, evaluate, clientsAreAll }: AggregatorOptions,
    definition: RunDefinition,
    rounds: Rounds,
    opened: OpenedRun,
  ) {
    super();
    this.settings = definition.settings;
    this.admission = admission ?? { kind: "any" };
    this.log = log ?? silent;
    this.othersLog = calm(this.log);
    this.run = opened.opened.run;
    this.description = model.description;
    this.channelNames = model.description.input.length === 1 ? model.columns : undefined;
    this.folder = folder;
    this.#given = model.normalisation;
    this.#joined = join(definition, rounds, opened, {
      admission: this.admission,
      log: this.log,
      othersLog: this.othersLog,
      evaluate,
      clientsAreAll: clientsAreAll ?? false,
      tell: discreetly(definition.privacy, (event, ...args) => this.#tell(event, ...args)),
      // A write that waits for room on a full disk would keep `stop` waiting for as long.
      isClosing: () => this.#stopping,
    });
    this.done = this.#joined.end.done;
  }

  async #begin({ opened, reducer }: OpenedRun, hold: boolean): Promise<void> {
    const { context, driver, registry, reopen } = this.#joined;
    const { run, epoch, last, attempt, clients } = opened;
    const { round } = last.record;
    context.models.keep(round, last.model, await reducer.forms(last.model.bytes));
    for (const client of clients)
      registry.remember(client, attempt?.selected.includes(client.id) ?? false);
    this.log.info(
      { run, epoch, committed: round, build: reducer.build },
      attempt
        ? `the run continues with round ${attempt.round}, attempt ${attempt.attempt}`
        : "the run begins",
    );
    // A secure attempt is never opened again.
    if (attempt !== undefined && !this.settings.secure) await reopen(attempt);
    context.roster.changed();
    driver.start(round, attempt);
    if (hold) this.hold();
  }

  /** How many rounds are committed. */
  get committed(): number {
    return this.#joined.context.models.round;
  }

  /** The current global model: its file, under the name that clients know. */
  get model(): Blob {
    const { models } = this.#joined.context;
    return models.whole(models.current);
  }

  /** Accepts connections: not closed. */
  get open(): boolean {
    return !this.#closing;
  }

  /** Opens rounds: `readyz` tells load balancers so. */
  get ready(): boolean {
    return this.open && !this.#joined.context.rounds.draining;
  }

  /** Gives the aggregator one more connection: a WebSocket, or one end of a pipe in memory. */
  attach(connection: Socket, origin: Origin): void {
    if (!this.open) return connection.close(1012, "restarting");
    this.#joined.sessions.add(connection, origin, this.#joined.sessionContext);
  }

  /** Whether this bearer opens the models: it belongs to an open session. */
  opens(bearer: string): boolean {
    return this.#joined.sessions.have(bearer);
  }

  /** A model that may be fetched now. */
  blob(sha256: string): Uint8Array | undefined {
    return this.#joined.fetchable.bytesOf(sha256);
  }

  /** Opens no further round; the one in progress is still finished. */
  drain(): void {
    this.#joined.driver.send({ type: "drain" });
  }

  /**
   * Opens no further round before `release`; the one in progress is still finished. A restart does
   * not remember it.
   */
  hold(): void {
    this.#joined.driver.send({ type: "hold" });
  }

  release(): void {
    this.#joined.driver.send({ type: "release" });
  }

  /**
   * Ends now: what was committed is on disk, and an unfinished attempt continues after a resume.
   * Clients are asked to come back; those of a finished run get some time to fetch the model and
   * leave by themselves. Safe to call at any time, also twice.
   */
  async stop(reason = "stopped"): Promise<void> {
    this.#stopping = true;
    this.#joined.driver.send({ type: "stop", reason });
    // Nobody waits for the last figures of a finished run.
    if (this.#joined.context.rounds.at === "finished") this.#joined.context.evaluations.cut();
    const ending = await this.done;
    if (ending.reason === "finished") await this.#joined.sessions.none(this.settings.farewell);
    await this.#close();
  }

  status(): Status {
    const { rounds, models } = this.#joined.context;
    return statusOf(
      this.run,
      this.settings,
      this.bears,
      rounds,
      models,
      this.clients(),
      this.#joined.context,
      this.statistics && {
        ...this.statistics,
        remarks: statisticsInWords(this.statistics, this.channelNames),
      },
    );
  }

  /**
   * How updates are combined, and how many hostile ones that bears; in a private run who can see
   * what, and what it has cost so far: sentences.
   */
  get bears(): string {
    const { bears } = this.#joined.context.definition.combining;
    return [bears, this.whoSees].filter((sentence) => sentence !== undefined).join(" ");
  }

  /**
   * Who can see what, in a run with secure aggregation; in one with differential privacy, what it has
   * cost so far.
   */
  get whoSees(): string | undefined {
    if (this.settings.secure) return secureInWords(this.settings);
    return this.#joined.context.account?.sentence();
  }

  /** Why the run has fewer rounds than were asked for, where it has, in half a sentence. */
  get endsEarly(): string | undefined {
    return this.#joined.context.definition.endsEarly;
  }

  /** What clients' data had a say in is kept back. */
  get isDiscreet(): boolean {
    return this.#joined.context.definition.privacy?.discreet ?? false;
  }

  /** The epsilon spent so far, and its delta, of a run with differential privacy. */
  get privacy(): Spent | undefined {
    return this.#joined.context.account?.spent;
  }

  /** What clients said of their inputs before the first round, once they have. */
  get statistics(): StatisticsRecord | undefined {
    return this.#joined.statistics.record;
  }

  /** The threshold of anomalies that was taken after the last round, or why none was. */
  get threshold(): TakenThreshold | undefined {
    return this.#joined.threshold.taken;
  }

  /** What is done to inputs: by the model's card, or by the clients' statistics once they are there. */
  get normalisation(): Normalisation | undefined {
    return this.statistics ? normalisationBy(this.statistics) : this.#given;
  }

  /** Inputs are normalised, or will be. */
  get normalises(): boolean {
    return this.#given !== undefined || this.#joined.context.definition.takesStatistics;
  }

  situation(): Situation {
    const { context, driver } = this.#joined;
    return situationOf(context.rounds, this.committed, driver.due);
  }

  /** All clients, in the order in which they first came. */
  clients(): Iterable<Readonly<Client>> {
    return this.#joined.context.clients.values();
  }

  load(): Load {
    const { sessions, context } = this.#joined;
    return loadOf(this.clients(), sessions.count, context.uploads.taken);
  }

  /** Reports that a connection or a client was refused. */
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

  async #close(): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    const { context, driver, registry, sessions, stopUpkeep } = this.#joined;
    stopUpkeep();
    driver.close();
    context.assignments.close();
    context.evaluations.cut();
    registry.close();
    context.roster.close();
    sessions.close(context.rounds.at === "finished");
    await context.folder?.written();
    await context.reducer.close();
    await context.ledger.close();
  }
}

/** The parts of a run, joined. */
interface Joined {
  readonly context: RunContext;
  readonly driver: RoundDriver;
  readonly sessions: Sessions;
  readonly sessionContext: SessionContext;
  readonly registry: Registry;
  readonly end: RunEnd;
  readonly statistics: StatisticsPhase;
  readonly threshold: ThresholdPhase;
  /** Models that may be fetched now. */
  readonly fetchable: ModelStore;
  /** Opens the attempt that a restart found open. */
  readonly reopen: ReturnType<typeof openAttempts>["reopen"];
  readonly stopUpkeep: () => void;
}

/** Makes the parts of a run and hands each of them what it needs of the others. */
function join(
  definition: RunDefinition,
  rounds: Rounds,
  { ledger, opened, reducer, folder, account }: OpenedRun,
  options: {
    readonly admission: Admission;
    readonly log: Log;
    readonly othersLog: OthersLog;
    readonly evaluate: AggregatorOptions["evaluate"];
    readonly clientsAreAll: boolean;
    readonly tell: Tell;
    readonly isClosing: () => boolean;
  },
): Joined {
  const { settings, updateBytes } = definition;
  const { admission, log, othersLog, tell } = options;
  const { run, epoch, latest } = opened;
  const store = openEmbedded(ledger, opened);
  const clients = new Map<string, Client>();
  const clientOf = clientIn(clients);
  const models = openModels(definition.base);
  const sessions = openSessions();
  const driver = driveRounds({
    rounds,
    carryOut: (effect) => carryOut(effect),
    waiting: (sentence) => tell("waiting", sentence),
  });
  const { send } = driver;
  const uploads = openUploads({
    budgetBytes: Math.max(settings.budgetBytes, 2 * updateBytes),
    windowBytes: settings.windowBytes,
    stall: settings.stall,
    minimumRate: settings.minimumRate,
    arrived: (update, bytes) => void leaf.arrived(update, bytes),
    evicted: (assignment) =>
      othersLog.warn({ assignment }, "an upload lost its room to one that waits"),
  });
  const assignments = openAssignments({
    codec: settings,
    differencesTo: models.differencesTo,
    clientOf,
    release: (id) => leaf.drop(id),
    refused: (client, assignment, { code, message }) => {
      const facts = { client: client.id.slice(0, 32), assignment };
      if (definition.privacy?.discreet) othersLog.warn(facts, "refused an update");
      else othersLog.warn({ ...facts, code }, "refused an update", message);
      tell("refused", { client: client.id, code, message });
    },
  });
  const evaluations = openEvaluations({
    seed: settings.seed,
    fraction: settings.evaluateFraction,
    maxSamples: settings.maxSamples,
    deadline: settings.evaluateDeadline,
    test: testOf(definition, options.evaluate),
    metrics: definition.metrics,
    log,
    modelFor: (client) => modelFor(models, clientOf(client)),
    give: (assignment) => assignments.give(assignment),
    takeBack: (assignment) => {
      assignments.end(assignment, "late");
      assignments.forget(assignment);
    },
    doubted: (doubt) => {
      const { client, round, reason } = doubt;
      const facts = { client: client.slice(0, 32), round };
      log.warn(facts, `a client's figures are doubtful: ${reason}`);
      tell("doubted", doubt);
    },
    done: (record) => {
      end.evaluated(record);
      folder?.evaluation(record);
      tell("evaluation", record);
    },
  });
  const context: RunContext = {
    ...{ run, definition, rounds, send, tell, log, othersLog, ledger, epoch, store },
    leafStore: store.join(),
    ...{ reducer, models, uploads, assignments, evaluations, folder, clients, clientOf, account },
    withRetry: retryWhileFull({ log, pause: settings.pause, send, isClosing: options.isClosing }),
    roster: openRoster({ definition, rounds, send, clients, clientsAreAll: options.clientsAreAll }),
  };
  const key = latest?.key ?? randomBytes(32).toString("hex");
  const idOf = assignmentIds(settings, key);
  const leaf = openLeaf(context, {
    idOf,
    due: () => driver.due,
    wrongIn: (assignment, samples) => secure.wrongIn(assignment, samples),
  });
  const attempts = openAttempts(context, { key, idOf, latest, leaf });
  const secure = openSecurePhases(context, attempts, leaf);
  const registry = openRegistry(context, secure);
  const threshold = openThreshold(context, {
    before: opened.threshold,
    isClosing: options.isClosing,
  });
  const end = openEnd(context, registry.sendFinished, threshold);
  const statistics = openStatistics(context, {
    record: opened.statistics,
    due: () => driver.due,
  });
  const carryOut = effectRunner(context, { attempts, leaf, statistics, secure, registry, end });
  const fetchable: ModelStore = {
    bytesOf: (sha256) => models.bytesOf(sha256) ?? assignments.model(sha256),
  };
  const { heartbeat, helloDeadline, windowBytes } = settings;
  return {
    ...{ context, driver, sessions, registry, end, statistics, threshold, fetchable },
    reopen: attempts.reopen,
    sessionContext: {
      ...{ run, admission, log, othersLog, heartbeat, helloDeadline, windowBytes },
      models: fetchable,
      handlers: sessionHandlers(context, { registry, leaf, statistics, secure, sessions }),
    },
    stopUpkeep: startUpkeep(context, { admission, clients, sessions, registry }),
  };
}
