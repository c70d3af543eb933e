import { algorithmNamed } from "../../runtime/algorithms/built-in.js";
import { trainAssignment } from "../../runtime/client/assignment.js";
import type { Loaded } from "../../runtime/client/model-cache.js";
import { onGrid } from "../../runtime/algorithms/vectors.js";
import { DEFAULT_CODEC } from "../../runtime/codecs/built-in.js";
import { updateForm, workName } from "../../runtime/training/transmission.js";
import type { UpdateForm } from "../../runtime/codecs/codec.js";
import type { Dataset, Part } from "../../runtime/data/dataset.js";
import { matched } from "../../runtime/data/matching.js";
import { statisticsOf } from "../../runtime/client/statistics-task.js";
import { DataError } from "../../runtime/errors.js";
import { expectedBy, type ModelCard } from "../../runtime/models/model.js";
import { networkOf } from "../../runtime/models/network.js";
import { takeShare, type Shares } from "../../runtime/models/shares.js";
import { random } from "../../runtime/tensors/random.js";
import { labIdentity } from "../../runtime/platform/node-identity.js";
import { nodePlatform } from "../../runtime/platform/node.js";
import type { Identity } from "../../runtime/platform/platform.js";
import type { ServerMessageOf } from "../../runtime/protocol/server-messages.js";
import { readStatisticsSettings, readTrainSettings } from "../../runtime/protocol/settings.js";
import type { holdOut } from "../../runtime/training/batches.js";
import type { Trainer } from "../../runtime/training/job.js";
import { averagedIn, runningValuesForm } from "../../runtime/training/running-values.js";
import type { Attack } from "../attacks.js";
import { underAttack } from "./hostile-work.js";
import { LightClient } from "./light-client.js";
import type { Fleet, MadeUpdate } from "./light-fleet.js";
import { profileOf, type Mix } from "./profile.js";
import { newRecording, type Recording } from "./recording.js";
import { sharedModels } from "./shared-models.js";
import { followed, randomUpdates, wholeUpdate, type Update } from "./updates.js";

/** What a client trains on, and what it holds out to evaluate on. */
type Split = ReturnType<typeof holdOut>;

/** Where the updates come from. */
export type UpdateKind =
  | { readonly kind: "random" }
  /** Recorded blobs, dealt to the clients in turn. */
  | { readonly kind: "replay"; readonly blobs: readonly Uint8Array[] }
  /** Real training: client i has part i modulo their number, and the trainers take turns. */
  | {
      readonly kind: "train";
      readonly trainers: readonly Trainer[];
      readonly parts: readonly Split[];
      /** Keeps an update, for a replay. */
      readonly record?: (client: number, round: number, update: Uint8Array) => Promise<void>;
    };

export interface FleetOptions {
  readonly url: string;
  readonly token?: string;
  /** PEM of the authority that signed the server's certificate. */
  readonly ca?: string;
  /** The clients of these numbers: each number is one identity of the seed. */
  readonly first: number;
  readonly clients: number;
  readonly seed: string;
  readonly profiles: readonly Mix[];
  readonly update: UpdateKind;
  /** Its clients train in no other rounds. */
  readonly secureOnly?: boolean;
  /** Milliseconds over which they arrive, evenly and each a little by chance. */
  readonly ramp: number;
}

export interface RunningFleet {
  readonly recording: Recording;
  /** Resolves when every client has left. */
  readonly done: Promise<void>;
  stop(): void;
}

/** Starts light clients, and records what becomes of them. */
export function startFleet(options: FleetOptions): RunningFleet {
  const { url, token, ca, first, seed, profiles, update, secureOnly, ramp } = options;
  const recording = newRecording();
  const fleet: Fleet = {
    url,
    seed,
    token,
    socket: ca === undefined ? {} : { tls: { ca } },
    secureOnly,
    recording,
    openSocket: nodePlatform().openSocket,
    identityOf: (index) => lightIdentity(seed, index),
    samplesOf: (index) =>
      update.kind === "train" ? partOf(update, index).train.rows.length : undefined,
    models: sharedModels(),
    work: underAttack(worker(update), formOf),
    vectors: (assign, model, { source, bytes }) => {
      const { header } = formOf(assign, model);
      const numbers = new Uint8Array(source(header.length, bytes - header.length));
      return new Float32Array(numbers.buffer, 0, numbers.length >> 2);
    },
    evaluate: evaluator(update),
    measure: measurer(update),
  };
  const clients: LightClient[] = [];
  const chance = random(seed, "arrivals", first);
  let resolve!: () => void;
  const done = new Promise<void>((settle) => (resolve = settle));
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  const begun = performance.now();

  /** Starts those who are due. */
  function arrive(): void {
    const due = performance.now() - begun;
    while (clients.length < options.clients && clients.length * (ramp / options.clients) <= due) {
      const index = first + clients.length;
      const { profile } = profileOf(profiles, index);
      const client = new LightClient(fleet, index, profile);
      clients.push(client);
      client.start();
    }
    if (clients.length < options.clients) timer = setTimeout(arrive, 20 * chance.next());
    else void Promise.all(clients.map((client) => client.done)).then(resolve);
  }
  arrive();

  return {
    recording,
    done,
    stop() {
      if (stopped) return;
      stopped = true;
      clearTimeout(timer);
      for (const client of clients) client.stop();
      resolve();
    },
  };
}

/**
 * A lab's client, whose key exists only while it signs: a key that is kept takes more memory than
 * the client.
 */
function lightIdentity(seed: string, index: number): Identity {
  const { publicKey } = labIdentity(seed, index);
  return {
    publicKey,
    sign: (message) => labIdentity(seed, index).sign(message),
  };
}

/** What makes of an assignment an update. */
function worker(update: UpdateKind): Fleet["work"] {
  const invent = randomUpdates();
  const invented: Fleet["work"] = async (client, assign, model, poisoned) => {
    const seed = client * 65_537 + assign.round;
    const form = formOf(assign, model);
    const update =
      assign.codec === DEFAULT_CODEC
        ? invent(form, seed, poisoned ? NaN : undefined)
        : await inventedIn(form, assign, model, seed, poisoned);
    const values = runningValues(assign, model);
    return { update: values === undefined ? update : followed(update, values) };
  };
  if (update.kind === "random") return invented;
  if (update.kind === "replay") {
    const recorded = update.blobs.map((blob) => wholeUpdate(blob));
    return async (client, assign, model, poisoned, attack) => {
      if (poisoned) return invented(client, assign, model, poisoned, attack);
      const update = recorded[client % recorded.length];
      const bytes = formOf(assign, model).bytes + (runningValues(assign, model)?.length ?? 0);
      if (update.bytes !== bytes)
        throw new DataError(
          "shape",
          `"--updates" expected updates of ${bytes} bytes, as the run's model has, got one of ${update.bytes}`,
        );
      return { update };
    };
  }
  return async (client, assign, model, poisoned, attack) =>
    poisoned
      ? invented(client, assign, model, poisoned, attack)
      : trained(update, client, assign, model, attack);
}

/** A whole update of small random numbers, in a codec that not any bytes are right for. */
async function inventedIn(
  form: UpdateForm,
  assign: ServerMessageOf<"assign">,
  { model }: Loaded,
  seed: number,
  poisoned: boolean,
): Promise<Update> {
  const chance = random("fedflat load test", seed);
  const { grid } = readTrainSettings(assign.settings);
  const numbers = onGrid(
    new Float32Array(sharesOf(model).shared.layout.size).map(() => 1e-3 * chance.normal()),
    grid ?? 2 ** -40,
  );
  const drawn = await form.draw?.(workName("", assign.round, assign.attempt));
  const vectors = Object.fromEntries(
    algorithmOf(assign).client.sends.map((name) => [name, numbers]),
  );
  const bytes = form.encode(vectors, { grid, drawn, chance: chance.next });
  // No codec has a scale, a place or a number of these bits.
  if (poisoned) bytes.fill(0xff, form.header.length);
  return wholeUpdate(bytes);
}

/**
 * What makes of a model an evaluation: where there are data, those that the client does not train
 * on.
 */
function evaluator(update: UpdateKind): Fleet["evaluate"] {
  if (update.kind !== "train") return undefined;
  return async (client, { model }) => {
    const { description, weights, normalisation } = model;
    const part = taken(partOf(update, client).test, model);
    const { count, correct, loss } = await trainerOf(update, client).evaluate({
      description,
      weights,
      normalisation,
      part,
    });
    return { count, correct, loss };
  };
}

/** What makes of a client's data its statistics. */
function measurer(update: UpdateKind): Fleet["measure"] {
  if (update.kind !== "train") return undefined;
  return (client, { settings }, { model }) =>
    statisticsOf(taken(partOf(update, client).train, model), readStatisticsSettings(settings));
}

type Training = Extract<UpdateKind, { kind: "train" }>;

const trainerOf = ({ trainers }: Training, client: number): Trainer =>
  trainers[client % trainers.length];

/** Data sets as the run's model takes them. */
const known = new WeakMap<Dataset, Dataset>();

const partOf = ({ parts }: Training, client: number): Split => parts[client % parts.length];

function taken({ dataset, rows }: Part, model: ModelCard): Part {
  const fits = known.get(dataset) ?? matched("--data", dataset, expectedBy(model));
  known.set(dataset, fits);
  return { dataset: fits, rows };
}

/** Data sets as hostile clients train on them. */
const poisoned = new WeakMap<Dataset, Dataset>();

function poisonedBy({ poison }: Attack, { dataset, rows }: Part): Part {
  if (poison === undefined) return { dataset, rows };
  const other = poisoned.get(dataset) ?? poison(dataset);
  poisoned.set(dataset, other);
  return { dataset: other, rows };
}

const algorithmOf = (assign: ServerMessageOf<"assign">) =>
  algorithmNamed(readTrainSettings(assign.settings).algorithm);

const formOf = (assign: ServerMessageOf<"assign">, { model }: Loaded): UpdateForm =>
  updateForm(algorithmOf(assign).client, assign, sharesOf(model).shared.layout);

const sharesOf = ({ description }: ModelCard): Shares => networkOf(description).shares;

/** The model's running values as an update brings them, where the run averages them. */
function runningValues(
  { settings }: ServerMessageOf<"assign">,
  { model }: Loaded,
): Uint8Array | undefined {
  const shares = sharesOf(model);
  const averaged = averagedIn(shares, readTrainSettings(settings));
  if (averaged === undefined) return undefined;
  return runningValuesForm(averaged).encode(takeShare(shares.statistics, model.weights));
}

/**
 * Trains as the real client does; an algorithm's own state begins at zero each time, for a light
 * client keeps none.
 */
async function trained(
  training: Training,
  client: number,
  assign: ServerMessageOf<"assign">,
  base: Loaded,
  attack: Attack,
): Promise<MadeUpdate> {
  const { offer, update } = await trainAssignment(
    trainerOf(training, client),
    {
      assignment: assign.assignment,
      settings: readTrainSettings(assign.settings),
      algorithm: algorithmOf(assign),
      codec: assign,
      // Only drawn places hang on the run as well, and a light client does not know its name.
      work: workName("", assign.round, assign.attempt),
      base,
      part: poisonedBy(attack, taken(partOf(training, client).train, base.model)),
      state: undefined,
    },
    {},
  );
  await training.record?.(client, assign.round, update);
  return {
    update: wholeUpdate(update, offer.sha256),
    metrics: offer.metrics,
  };
}
