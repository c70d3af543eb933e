import { algorithmNamed } from "../../runtime/algorithms/built-in.js";
import { finishRound } from "../../runtime/algorithms/finish-round.js";
import type { Algorithm, NamedNumbers, State } from "../../runtime/algorithms/algorithm.js";
import { blobTensors, firstNotFinite, MODEL, readBlob } from "../../runtime/tensors/blob.js";
import type { Layout, Vector } from "../../runtime/tensors/layout.js";
import {
  readMetadata,
  readSafetensors,
  writeSafetensors,
} from "../../runtime/tensors/safetensors.js";
import { release } from "../../runtime/tensors/memory.js";
import { ModelError } from "../../runtime/errors.js";
import { serial } from "../../runtime/serial.js";
import { int8, int8Blocks } from "../../runtime/codecs/int8.js";
import { halfModel } from "../../runtime/codecs/parts/model-blob.js";
import { openShadow, type Shadow } from "./shadow.js";
import type { ModelForms } from "../storage/model-cache.js";
import { collectAll } from "../memory.js";
import { updateForm, type CodecChoice } from "../../runtime/training/transmission.js";
import { runningValuesIn, type RunningValues } from "./running-values.js";
import { followingIn, readArrivals, type AboutUpdate, type Kept } from "./arrivals.js";
import { normOf, type ArrivedVector } from "./numbers.js";
import { maskedGathering, type MaskedGathering, type UnmaskingJob } from "./masked-gathering.js";
import { readUpdate, type Refusal } from "./validation.js";
import { blobOf } from "./blob-of.js";
import type { Checkpoint } from "../storage/ledger.js";
import type { Arithmetic } from "./arithmetic.js";
import type { RoundFold } from "./exact-sum.js";
import { openGathering, type Gathering, type RoundLimits, type RuleSettings } from "./gathering.js";
import { mergePartial, partialToBytes } from "./partial-fold.js";
import { stateGrid } from "./weighted-mean.js";

/**
 * Does the heavy work on blobs: hashes and checks updates, folds them, moves the model and writes
 * the next checkpoint. It holds the state of the algorithm; the model stays with the caller. This
 * is the plain form, which works in the calling thread; `reducer-worker.ts` runs the same one in a
 * worker, so that the event loop never waits for a large blob.
 */
export interface Reducer {
  /** Kernels that fold. */
  readonly build: string;
  /** Takes a committed state of the algorithm as the current one. */
  load(state: Uint8Array): Promise<void>;
  /** Begins an empty round; what the one before held is dropped. */
  openFold(limits: RoundLimits): Promise<void>;
  /**
   * Looks at an update. One that is not refused is kept until `fold` or `drop`; the bytes must stay
   * as they are until then.
   */
  check(
    key: string,
    sha256: string,
    bytes: Uint8Array,
    about: AboutUpdate,
  ): Promise<Refusal | undefined>;
  /**
   * Adds a kept update, which is `staleness` commits behind, to the fold and lets go of it.
   * Resolves to the Euclidean norm of its first vector, the delta, as it was sent; 0 of a masked one.
   */
  fold(key: string, client: string, samples: number, staleness: number): Promise<number>;
  drop(key: string): Promise<void>;
  /**
   * Ends the round here: what was folded, for `merge` in another process.
   * @throws ModelError `fold` where updates are combined in one place only
   */
  takeFold(): Promise<Uint8Array>;
  /**
   * Adds what another process has folded of the round that is open.
   * @throws ModelError `fold` or `safetensors`, with nothing changed, where it does not merge
   */
  merge(partial: Uint8Array): Promise<void>;
  /**
   * Takes the masks off the sum of a secure round. False where the shares do not give every secret.
   */
  unmask(job: UnmaskingJob): Promise<boolean>;
  /**
   * Resolves when every earlier call is done and the memory of its updates is given back.
   */
  rest(): Promise<void>;
  /**
   * Moves the model by the fold.
   * @param model the current one, as a blob; its memory is the reducer's from now on, and the next
   * model's where it fits
   * @param privacy what its releases have cost, for its metadata
   * @throws ModelError `server-step` where the algorithm gives a model or a state that nobody could
   * go on from: numbers that are not finite, another length or type
   */
  finish(model: Uint8Array<ArrayBuffer>, population: number, privacy?: string): Promise<Checkpoint>;
  /** The forms in which a model is sent, where the run does not send it as it is. */
  forms(model: Uint8Array): Promise<ModelForms>;
  close(): Promise<void>;
}

export interface ReducerSettings extends CodecChoice {
  readonly algorithm: string;
  readonly algorithmSettings: NamedNumbers;
  /** How models are sent. */
  readonly modelCodec: string;
  readonly layout: Layout;
  /** Of batchNorm's running values, where the run averages them. */
  readonly averaged?: Layout | undefined;
  readonly maxAbs: number;
  readonly maxNorm: number;
  /** Longer vectors are scaled down to this norm; Infinity for none. */
  readonly clipUpdateNorm: number;
  readonly rule: RuleSettings;
  /** Updates come masked, as words of 32 bits. */
  readonly secure?: boolean;
}

/** @param own the algorithm itself, where it is not one of the built-in ones. */
export function openReducer(
  settings: ReducerSettings,
  arithmetic: Arithmetic,
  own?: Algorithm,
): Reducer {
  const { layout, averaged, maxAbs, maxNorm, algorithmSettings } = settings;
  const running = runningValuesIn(averaged, maxAbs);
  const { client, server } = own ?? algorithmNamed(settings.algorithm);
  const arrivals = arrivalsFor(settings, client);
  const kept = new Map<string, Kept>();
  /** The vectors of the last one looked at, which is mostly the next to be folded. */
  let last:
    { readonly of: Kept; readonly vectors: Readonly<Record<string, ArrivedVector>> } | undefined;
  let state: State;
  let gathering: Gathering | MaskedGathering | undefined;
  let grid: number | undefined;
  /** What the rule gave in the last committed round, where it starts from it. */
  let centre: Float64Array | undefined;
  const shadow = settings.modelCodec === "int8" ? openShadow() : undefined;
  const rowSize = layout.size * client.sends.length;

  return {
    build: arithmetic.build,
    async load(stored) {
      state = readState(stored, Object.keys(server.state), layout.size);
      centre = readCentre(stored, rowSize);
      shadow?.load(stored);
    },
    async openFold(limits) {
      grid = client.nextState && stateGrid(limits.updates, maxAbs);
      const { following } = limits;
      arrivals.begin(grid, following && followingIn(following, layout, client.receives));
      gathering = gatheringFor(settings, server, limits, centre, arithmetic);
      running.begin(limits);
    },
    async check(key, sha256, bytes, about) {
      const update = { sha256, bytes: running.ownOf(bytes), about };
      const decode = await arrivals.reader(update);
      const limits = { maxAbs, maxNorm, grid, arithmetic };
      const read = readUpdate({ bytes, sha256, decode, ...limits });
      if (read.refusal !== undefined) return read.refusal;
      const wrong = running.check(key, bytes);
      if (wrong !== undefined) return wrong;
      kept.set(key, update);
      last = { of: update, vectors: read.vectors };
      return undefined;
    },
    async fold(key, id, samples, staleness) {
      const update = kept.get(key);
      if (update === undefined || gathering === undefined)
        throw new Error(`nothing to fold for ${key}`);
      kept.delete(key);
      // Not kept whole: a codec makes many times as much of an update's bytes.
      const vectors = last?.of === update ? last.vectors : (await arrivals.reader(update))();
      last = undefined;
      const about = { client: id, sha256: update.sha256, samples, staleness };
      const norms = gathering.add({ ...about, vectors, bytes: update.bytes });
      running.add(key, about);
      const [delta] = client.sends;
      if (settings.secure) return 0;
      return norms?.[delta] ?? normOf(vectors[delta], arithmetic);
    },
    async drop(key) {
      if (last?.of === kept.get(key)) last = undefined;
      kept.delete(key);
      running.drop(key);
    },
    async takeFold() {
      const bytes = partialToBytes([foldOf(gathering), ...running.folds()]);
      gathering = undefined;
      return bytes;
    },
    async merge(partial) {
      mergePartial([foldOf(gathering), ...running.folds()], partial);
    },
    async unmask(job) {
      if (gathering === undefined || !("unmask" in gathering)) return false;
      return gathering.unmask(job);
    },
    async rest() {
      collectAll();
    },
    async finish(model, population, privacy) {
      if (gathering === undefined) throw new Error("no fold is open");
      const result = gathering.result();
      const global = readBlob(model, layout, [MODEL])[MODEL];
      // Every model has the card of the one before it.
      const card = readMetadata(model);
      const metadata = privacy === undefined ? card : { ...card, privacy };
      const next = finishRound(server, {
        global,
        fold: result.fold,
        state,
        settings: algorithmSettings,
        population,
      });
      gathering = undefined;
      ({ centre } = result);
      const checkpoint = checkpointOf(
        server,
        layout,
        metadata,
        next.global,
        next.state,
        population,
        { centre, into: model, shadow, running: running.next(model) },
      );
      ({ state } = next);
      // Safe to reuse: only a custom algorithm could still hold a reference.
      if (next.global !== global && own === undefined) release(next.global.buffer);
      return checkpoint;
    },
    async forms(model) {
      if (settings.modelCodec !== "float16") return shadow?.forms(model) ?? {};
      const vectors = ["model", ...client.receives];
      return { half: blobOf(halfModel(model, vectors, averaged?.parameters.length)) };
    },
    async close() {},
  };
}

function arrivalsFor(
  settings: ReducerSettings,
  client: Algorithm["client"],
): ReturnType<typeof readArrivals> {
  const { codec, codecSettings, layout, secure } = settings;
  const arrivals = readArrivals(
    client,
    updateForm(client, settings, layout),
    codec === int8.name && client.follows === undefined
      ? int8Blocks(layout, client.sends, codecSettings)
      : undefined,
  );
  // Of a masked update nothing is read: it is added as it is.
  return secure ? { ...arrivals, reader: async () => () => ({}) } : arrivals;
}

function gatheringFor(
  { rule, layout, maxAbs, clipUpdateNorm }: ReducerSettings,
  server: Algorithm["server"],
  limits: RoundLimits,
  centre: Float64Array | undefined,
  arithmetic: Arithmetic,
): Gathering | MaskedGathering {
  const { size } = layout;
  if (limits.quantiser) return maskedGathering(limits.quantiser, server, size);
  const zeros = () => new Float64Array(size * Object.keys(server.folds).length);
  const form = { size, maxAbs, clipUpdateNorm };
  return openGathering(rule, server, form, limits, centre ?? zeros(), arithmetic);
}

/** @throws ModelError `fold` */
function foldOf(round: Gathering | MaskedGathering | undefined): RoundFold {
  if (round === undefined || !("fold" in round) || round.fold === undefined)
    throw new ModelError("fold", "the updates of this round are combined in one place only");
  return round.fold;
}

/** The same, which does one thing after the other, as one in a worker does. */
export function inTurn(reducer: Reducer): Reducer {
  const { run } = serial();
  return {
    build: reducer.build,
    load: (...given) => run(() => reducer.load(...given)),
    openFold: (...given) => run(() => reducer.openFold(...given)),
    check: (...given) => run(() => reducer.check(...given)),
    fold: (...given) => run(() => reducer.fold(...given)),
    drop: (...given) => run(() => reducer.drop(...given)),
    takeFold: () => run(() => reducer.takeFold()),
    merge: (...given) => run(() => reducer.merge(...given)),
    unmask: (...given) => run(() => reducer.unmask(...given)),
    rest: () => run(() => reducer.rest()),
    finish: (...given) => run(() => reducer.finish(...given)),
    forms: (...given) => run(() => reducer.forms(...given)),
    close: () => run(() => reducer.close()),
  };
}

/** The checkpoint before the first round. */
export function firstCheckpoint(
  { server }: Algorithm,
  settings: NamedNumbers,
  layout: Layout,
  metadata: Readonly<Record<string, string>>,
  weights: Vector,
  running?: RunningValues,
): Checkpoint {
  const state = Object.fromEntries(
    Object.entries(server.state).map(([name, initial]) => [
      name,
      new Float64Array(layout.size).fill(initial(settings)),
    ]),
  );
  // Nobody has sent anything: sums of nothing, whatever they are divided by.
  return checkpointOf(server, layout, metadata, weights, state, 1, { running });
}

/** @throws ModelError `server-step` for a checkpoint from which no run could continue. */
function checkpointOf(
  server: Algorithm["server"],
  layout: Layout,
  metadata: Readonly<Record<string, string>>,
  global: Vector,
  state: State,
  population: number,
  {
    centre,
    into,
    shadow,
    running,
  }: {
    readonly centre?: Float64Array;
    readonly into?: Uint8Array<ArrayBuffer>;
    readonly shadow?: Shadow;
    readonly running?: RunningValues | undefined;
  } = {},
): Checkpoint {
  for (const name of Object.keys(server.state))
    requireVector(layout, name, state[name], Float64Array);
  const broadcast = Object.entries(server.broadcast?.(state, population) ?? {}).map(
    ([name, vector]) => [name, Float32Array.from(vector)] as const,
  );
  const vectors = { [MODEL]: global, ...Object.fromEntries(broadcast) };
  for (const [name, vector] of Object.entries(vectors))
    requireVector(layout, name, vector, Float32Array);
  const tensorsOfModel = [
    ...blobTensors(layout, vectors),
    ...(running ? blobTensors(running.layout, { [MODEL]: running.values }) : []),
  ];
  const model = blobOf(writeSafetensors(tensorsOfModel, metadata, into));
  const kept = {
    ...state,
    ...(centre && { [CENTRE]: centre }),
    ...shadow?.next(model.bytes),
  };
  const tensors = Object.entries(kept).map(([name, data]) => ({
    name,
    shape: [data.length],
    data,
  }));
  return { model, state: blobOf(writeSafetensors(tensors)) };
}

function requireVector(
  layout: Layout,
  name: string,
  data: Vector | Float64Array | undefined,
  Kind: Float32ArrayConstructor | Float64ArrayConstructor,
): void {
  const step = "in what the algorithm's server step gives (its round is not committed)";
  if (!(data instanceof Kind) || data.length !== layout.size)
    throw new ModelError(
      "server-step",
      `"${name || "global"}" expected a ${Kind.name} of ${layout.size} numbers ${step}, got ${data === undefined ? "nothing" : `a ${data.constructor.name} of ${data.length}`}`,
    );
  const wrong = firstNotFinite(layout, data);
  if (wrong !== undefined)
    throw new ModelError(
      "server-step",
      `"${name ? `${name}/` : ""}${wrong.parameter}" expected finite numbers ${step}, got ${wrong.value} at [${wrong.place.join(", ")}]`,
    );
}

/** The name, in the stored state, of what the rule starts from. */
const CENTRE = "aggregate/centre";

/** Nothing where the last round was combined by a rule that keeps nothing. */
function readCentre(bytes: Uint8Array, size: number): Float64Array | undefined {
  const data = readSafetensors(bytes).tensors.get(CENTRE)?.data;
  return data instanceof Float64Array && data.length === size ? data : undefined;
}

/** @throws ModelError `state` where the stored state is not this algorithm's. */
function readState(bytes: Uint8Array, names: readonly string[], size: number): State {
  const { tensors } = readSafetensors(bytes);
  return Object.fromEntries(
    names.map((name) => {
      const data = tensors.get(name)?.data;
      if (!(data instanceof Float64Array) || data.length !== size)
        throw new ModelError(
          "state",
          `"${name}" expected ${size} float64 numbers in the stored state of the algorithm, got ${data?.length ?? "none"}; a run that another version of fedflat or of the algorithm began cannot be resumed by this one`,
        );
      return [name, data];
    }),
  );
}
