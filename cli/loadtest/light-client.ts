import type { SecurePhase } from "../../aggregator/rounds/participants.js";
import { setTimeout } from "node:timers/promises";
import { BUILT_IN } from "../../runtime/algorithms/built-in.js";
import type { Loaded } from "../../runtime/client/model-cache.js";
import {
  agreedIn,
  answerTo,
  hidden,
  maskedOffer,
  type Agreed,
  type PhaseQuestion,
} from "../../runtime/client/secure-round.js";
import { CODECS } from "../../runtime/codecs/built-in.js";
import {
  Connection,
  type ConnectionEvents,
  type ConnectionOptions,
  type EndReason,
  type Introduction,
  type Told,
} from "../../runtime/connection/connection.js";
import { ProtocolError } from "../../runtime/errors.js";
import { LAYER_KINDS } from "../../runtime/models/description.js";
import { random, type Random } from "../../runtime/tensors/random.js";
import { sha256Hex } from "../../runtime/platform/node-sha256.js";
import type { Identity, Platform, SocketOptions } from "../../runtime/platform/platform.js";
import { MOST_PENDING, type BlobName } from "../../runtime/protocol/fields.js";
import type { ServerMessageOf } from "../../runtime/protocol/server-messages.js";
import { attackNamed, type Attack } from "../attacks.js";
import {
  invented,
  inventedEvaluation,
  inventedStatistics,
  type Assign,
  type Fleet,
  type Offer,
} from "./light-fleet.js";
import { draw, type Profile } from "./profile.js";
import { Recorder } from "./recorder.js";
import type { Participant } from "../../runtime/secure/participant.js";
import { add, type Activity, type Fault } from "./recording.js";
import { shaped } from "./shaped-socket.js";

/** An update that is on its way into a model. */
interface Sent {
  readonly sha256: string;
  readonly bytes: number;
  /** When its assignment came. */
  readonly assigned: number;
}

/** An assignment as if its round were not secure. */
const trainingOf = (assign: Assign, { terms }: Agreed): Assign => ({
  ...assign,
  settings: { ...terms.training, seed: assign.settings["seed"] },
});

/** A secure round, from its training to its end. */
interface Hidden {
  readonly part: Participant;
  readonly weight: number;
  /** The phase that it was asked for last, and when. */
  phase?: SecurePhase;
  asked: number;
}

const CAPABILITIES: Introduction["capabilities"] = {
  algorithms: BUILT_IN.map(({ name }) => name),
  layers: Object.keys(LAYER_KINDS),
  codecs: Object.keys(CODECS),
  models: ["float32", "float16"],
  build: "none",
  secure: true,
};

/**
 * Keeps no process alive that has nothing else to do: a test that is over does not wait for its
 * devices.
 */
const pause = (milliseconds: number) => setTimeout(milliseconds, undefined, { ref: false });

/** Why a connection is dropped when the profile asks for a drop-out. */
const OUT_OF_REACH = "out of reach";

/** How the protocol refuses what a profile's fault makes of an update. */
const ANSWERS: Readonly<Partial<Record<Fault, readonly string[]>>> = {
  late: ["late"],
  shape: ["bytes"],
  // A codec without float32 refuses the scale or the place that is no number.
  nan: ["not-finite", "layout"],
};

/**
 * A client that does everything the protocol asks of one, on the connection code of the real
 * client, and trains only where the fleet has a trainer. It is its own options and events, so that
 * thousands of them are small.
 */
export class LightClient implements ConnectionOptions, ConnectionEvents {
  readonly identity: Identity;
  readonly #fleet: Fleet;
  readonly #index: number;
  readonly #profile: Profile;
  readonly #attack: Attack;
  readonly #chance: Random;
  readonly #samples: number;
  readonly #connection: Connection;
  readonly #resolve: () => void;
  /** Resolves when the client has left, or was sent away. */
  readonly done: Promise<void>;
  readonly #record: Recorder;
  /** What it is doing while it is connected. */
  #work: Activity = "idle";
  #dialled = 0;
  #run = "";
  #model = "";
  #assign?: Assign;
  #assigned = 0;
  #offer?: Offer;
  #offered = 0;
  #hidden?: Hidden;
  /** Updates of assignments before this one that no model has yet, as in buffered rounds. */
  #waiting?: Map<string, Sent>;
  /** What is wrong with the assignment's update, as its profile asks. */
  #fault?: Fault;

  constructor(fleet: Fleet, index: number, profile: Profile) {
    this.#fleet = fleet;
    this.#index = index;
    this.#profile = profile;
    this.#record = new Recorder(fleet.recording);
    this.#attack = attackNamed(profile.attack)!;
    this.#chance = random(fleet.seed, "load", index);
    this.#samples =
      fleet.samplesOf(index) ?? Math.max(1, Math.round(draw(profile.samples, this.#chance)));
    this.identity = fleet.identityOf(index);
    let resolve!: () => void;
    this.done = new Promise((settle) => (resolve = settle));
    this.#resolve = resolve;
    this.#connection = new Connection(this);
  }

  start(): void {
    this.#fleet.recording.arrived++;
    this.#record.is("dialling");
    this.#connection.available(true);
    this.#connection.start();
  }

  stop(): void {
    this.#connection.close("the load test is over");
  }

  // Options of the connection.

  get url(): string {
    return this.#fleet.url;
  }
  get token(): string | undefined {
    return this.#fleet.token;
  }
  get socket(): SocketOptions {
    return this.#fleet.socket;
  }
  get events(): ConnectionEvents {
    return this;
  }
  chance = (): number => this.#chance.next();
  openSocket: Platform["openSocket"] = (url, options) => {
    this.#dialled = performance.now();
    this.#record.is("dialling");
    const { upload, download, latency } = this.#profile;
    const plain = upload === 0 && download === 0 && latency === 0;
    const open = plain
      ? this.#fleet.openSocket
      : shaped(this.#fleet.openSocket, {
          upload,
          download,
          latency: () => draw(latency, this.#chance),
        });
    return open(url, options);
  };
  introduce = (): Introduction => ({
    capabilities: CAPABILITIES,
    samples: this.#samples,
    pending: this.#pending(),
    agent: "fedflat-loadtest",
  });

  // Events of the connection.

  welcome({ run, lastCounted }: ServerMessageOf<"welcome">): void {
    this.#record.took("connect", this.#dialled);
    this.#record.is(this.#work);
    this.#run = run;
    const { assignment } = this.#assign ?? {};
    // It may not have been heard.
    if (this.#hidden && assignment !== undefined && assignment !== lastCounted?.assignment)
      this.#connection.tell({ type: "trained", assignment });
    if (lastCounted) this.#counted(lastCounted.assignment);
  }

  message(message: Told): void {
    switch (message.type) {
      case "assign":
        return this.#take(message);
      case "keys":
      case "shares":
      case "masked":
      case "verify":
      case "unmask":
        return void this.#answer(message);
      case "received":
        if (message.assignment !== this.#offer?.assignment) return;
        this.#record.took("upload", this.#offered);
        this.#does("idle");
        if (this.#fault !== "duplicate") return;
        this.#connection.repeat(message.assignment);
        return this.#faultDone();
      case "committed":
        this.#record.round(message.round);
        return this.#counted(message.assignment);
      case "refused":
        return this.#refused(message);
      case "model":
        return this.#record.round(message.round);
      case "wait":
        return;
      case "finished":
        this.#fleet.recording.finished++;
        return this.#connection.close("finished");
    }
  }

  problem({ code }: ProtocolError): void {
    this.#record.error(`problem: ${code}`);
  }

  lost(reason: string): void {
    const wanted = reason === OUT_OF_REACH;
    if (wanted) add(this.#fleet.recording.faults, "dropOut");
    else this.#record.error(`line lost: ${reason.slice(0, 100)}`);
    this.#record.is(wanted ? "away" : "dialling");
  }

  ended(reason: EndReason): void {
    if (reason !== "closed" && reason !== "finished") this.#record.error(`ended: ${reason}`);
    this.#assign = undefined;
    this.#waiting = undefined;
    this.#record.is(undefined);
    this.#resolve();
  }

  // The work.

  #take(assign: Assign): void {
    const { assignment } = assign;
    if (this.#assign?.assignment === assignment || this.#waiting?.has(assignment)) {
      const type = this.#hidden ? "trained" : "accept";
      if (!this.#connection.repeat(assignment)) this.#connection.tell({ type, assignment });
      return;
    }
    // It would not get another one if it had not been told `received`.
    if (this.#assign !== undefined && this.#offer !== undefined) {
      this.#waiting ??= new Map();
      this.#waiting.set(this.#assign.assignment, this.#sent(this.#offer));
    } else this.#rest();
    this.#offer = undefined;
    this.#fault = undefined;
    this.#forget();
    this.#assign = assign;
    this.#assigned = performance.now();
    this.#connection.tell({ type: "accept", assignment });
    this.#do(assign).catch((error: unknown) => {
      if (this.#assign !== assign) return;
      this.#record.error(
        `failed: ${error instanceof Error ? error.message.slice(0, 200) : String(error)}`,
      );
      this.#connection.tell({ type: "failed", assignment, code: "other" });
      this.#rest();
    });
  }

  async #do(assign: Assign): Promise<void> {
    const { assignment, task, deadline } = assign;
    const { faulty } = this.#profile;
    const chance = this.#chance;
    const mine = () => this.#assign === assign;
    const agreed = task === "train" ? agreedIn(assign) : undefined;
    if (task === "train" && agreed === undefined && this.#fleet.secureOnly)
      return this.#decline(assignment, "a round that is not secure");
    const model = await this.#base(assign.model);
    if (!mine()) return;
    if (task === "statistics") {
      const statistics =
        this.#fleet.measure?.(this.#index, assign, model) ??
        inventedStatistics(this.#samples, assign);
      this.#connection.offer({ type: "report", assignment, statistics });
      return this.#rest();
    }
    if (task === "evaluate") {
      const evaluation =
        (await this.#fleet.evaluate?.(this.#index, model)) ?? inventedEvaluation(this.#samples);
      if (!mine()) return;
      this.#connection.offer({ type: "report", assignment, evaluation });
      return this.#rest();
    }
    this.#does("training");
    const begun = performance.now();
    const seconds = draw(this.#profile.computeSeconds, chance);
    if (chance.next() < this.#profile.dropOut)
      void pause(1000 * seconds * chance.next()).then(() => {
        if (mine())
          this.#connection.redial(OUT_OF_REACH, 1000 * draw(this.#profile.awaySeconds, chance));
      });
    const late = chance.next() < (faulty.late ?? 0);
    if (late) this.#fault = "late";
    const milliseconds = late ? deadline + 1000 : 1000 * seconds;
    if (milliseconds > 0) await pause(milliseconds);
    if (!mine()) return;
    const nan = chance.next() < (faulty.nan ?? 0);
    const given = agreed ? trainingOf(assign, agreed) : assign;
    const { update, metrics = invented(seconds) } = await this.#fleet.work(
      ...([this.#index, given, model, nan, this.#attack] as const),
    );
    if (!mine()) return;
    this.#record.took("train", begun);
    const misshapen = chance.next() < (faulty.shape ?? 0);
    const duplicate = chance.next() < (faulty.duplicate ?? 0);
    if (!late)
      this.#fault = misshapen ? "shape" : nan ? "nan" : duplicate ? "duplicate" : undefined;
    if (agreed !== undefined)
      return this.#hide(assign, agreed, this.#fleet.vectors(given, model, update));
    this.#offer = {
      type: "offer",
      assignment,
      sha256: update.sha256,
      bytes: update.bytes + (misshapen ? 4 : 0),
      samples: this.#samples,
      metrics,
    };
    this.#offered = performance.now();
    this.#does("uploading");
    this.#connection.offer(this.#offer, update.source);
  }

  #decline(assignment: string, what: string): void {
    this.#record.error(`declined: ${what}`);
    this.#connection.tell({ type: "decline", assignment, code: "settings", message: what });
    this.#rest();
  }

  /** Says that it has trained: what it found is masked when the others have, too. */
  #hide(assign: Assign, agreed: Agreed, vectors: Float32Array): void {
    const { assignment, round, attempt } = assign;
    const { identity } = this;
    const least = agreed.terms.clients;
    const of = { run: this.#run, round, attempt };
    this.#hidden = {
      ...hidden(of, agreed, vectors, this.#samples, { identity, least }),
      asked: performance.now(),
    };
    this.#does("uploading");
    this.#connection.tell({ type: "trained", assignment });
  }

  /** Answers a phase of a secure round, or says that it cannot. */
  async #answer(asked: PhaseQuestion): Promise<void> {
    const secure = this.#hidden;
    const { assignment } = asked;
    const failed = (code: "lists" | "other") =>
      this.#connection.tell({ type: "failed", assignment, code });
    if (secure === undefined || assignment !== this.#assign?.assignment)
      return void failed("other");
    this.#phase(secure, asked.type);
    try {
      if (asked.type !== "masked") {
        const said = await answerTo(secure.part, asked);
        if (this.#hidden !== secure) return;
        this.#record.answered(asked.type, asked, said);
        return void this.#connection.tell(said);
      }
      const words = await secure.part.masked(asked.sealed);
      if (this.#hidden !== secure || this.#offer !== undefined) return;
      const update = new Uint8Array(words.buffer);
      this.#offer = maskedOffer(assignment, secure.weight, update, sha256Hex(update));
      this.#offered = performance.now();
      this.#record.answered(asked.type, asked, this.#offer, update.length);
      this.#connection.offer(this.#offer, (from, length) => update.subarray(from, from + length));
    } catch (error) {
      if (this.#hidden !== secure) return;
      const message = error instanceof Error ? error.message : String(error);
      this.#record.error(`failed: ${message.slice(0, 200)}`);
      this.#rest();
      failed(error instanceof ProtocolError ? "lists" : "other");
    }
  }

  /** A phase is over when the next one is asked for, or the round. */
  #phase(secure: Hidden, next?: SecurePhase): void {
    if (secure.phase === next) return;
    if (secure.phase !== undefined) this.#record.took(secure.phase, secure.asked);
    secure.phase = next;
    secure.asked = performance.now();
  }

  /** The model of an assignment: downloaded, unless it is the one that this client had last. */
  async #base(name: BlobName): Promise<Loaded> {
    const { models, recording } = this.#fleet;
    const held = this.#model === name.sha256 ? models.get(name.sha256) : undefined;
    if (held !== undefined) return held;
    this.#does("downloading");
    const begun = performance.now();
    const model = await models.fetch(this.#connection, name);
    this.#record.took("download", begun);
    recording.modelBytes += name.bytes;
    this.#model = name.sha256;
    return model;
  }

  #refused({ assignment, code, retryAfter }: ServerMessageOf<"refused">): void {
    const current = assignment === this.#assign?.assignment;
    if (current && this.#fault !== undefined && ANSWERS[this.#fault]?.includes(code))
      this.#faultDone();
    else add(this.#fleet.recording.refused, code);
    if (retryAfter === null) this.#settle(assignment);
  }

  #faultDone(): void {
    if (this.#fault !== undefined) add(this.#fleet.recording.faults, this.#fault);
    this.#fault = undefined;
  }

  /** Its current assignment, or the one that waits for an answer. */
  #pending(): { assignment: string; sha256?: string }[] {
    const waiting = [...(this.#waiting ?? [])].map(([assignment, { sha256 }]) => ({
      assignment,
      sha256,
    }));
    if (this.#assign === undefined) return waiting;
    const { assignment } = this.#assign;
    const sha256 = this.#offer?.sha256;
    return [...waiting, { assignment, sha256 }].slice(-MOST_PENDING);
  }

  #sent({ sha256, bytes }: Offer): Sent {
    return { sha256, bytes, assigned: this.#assigned };
  }

  #counted(assignment: string): void {
    const sent =
      assignment === this.#offer?.assignment
        ? this.#sent(this.#offer)
        : this.#waiting?.get(assignment);
    if (sent === undefined) return;
    if (this.#hidden) this.#phase(this.#hidden);
    this.#record.counted(sent.bytes, sent.assigned);
    this.#settle(assignment);
  }

  /** Nothing more will be heard of this assignment. */
  #settle(assignment: string): void {
    if (assignment === this.#assign?.assignment) this.#rest();
    else if (this.#waiting?.delete(assignment)) this.#connection.settle(assignment);
  }

  /** No current assignment any more. */
  #rest(): void {
    if (this.#assign !== undefined) this.#connection.settle(this.#assign.assignment);
    this.#assign = undefined;
    this.#offer = undefined;
    this.#fault = undefined;
    this.#forget();
    this.#does("idle");
  }

  /** The secrets of a secure round are of no use any more. */
  #forget(): void {
    this.#hidden?.part.erase();
    this.#hidden = undefined;
  }

  #does(work: Activity): void {
    this.#work = work;
    if (this.#connection.isUp) this.#record.is(work);
  }
}
