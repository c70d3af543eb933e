import { algorithmNamed } from "../../runtime/algorithms/built-in.js";
import { finishRound } from "../../runtime/algorithms/finish-round.js";
import type { Algorithm, NamedNumbers, State } from "../../runtime/algorithms/algorithm.js";
import { codecNamed } from "../../runtime/codecs/built-in.js";
import {
  firstNotFinite,
  MODEL,
  readBlob,
  writeBlob,
  type Vectors,
} from "../../runtime/tensors/blob.js";
import type { Layout, Vector } from "../../runtime/tensors/layout.js";
import { readSafetensors, writeSafetensors } from "../../runtime/tensors/safetensors.js";
import { release } from "../../runtime/tensors/memory.js";
import { ModelError } from "../../runtime/errors.js";
import { sha256Hex } from "../../runtime/platform/node-sha256.js";
import { collectAll } from "../memory.js";
import { readUpdate, type Refusal } from "./validation.js";
import type { Blob, Checkpoint } from "../storage/ledger.js";
import type { Arithmetic } from "./arithmetic.js";
import { clipped } from "./clip.js";
import { addToFold, emptyFold, type RoundFold } from "./exact-sum.js";
import { contributionOf, domainOf, foldFor, stateGrid } from "./weighted-mean.js";

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
  /** Begins an empty fold; what the one before held is dropped. */
  openFold(limits: FoldLimits): Promise<void>;
  /**
   * Looks at an update. One that is not refused is kept until `fold` or `drop`; the bytes must stay
   * as they are until then.
   */
  check(key: string, sha256: string, bytes: Uint8Array): Promise<Refusal | undefined>;
  /**
   * Adds a kept update, which is `staleness` commits behind, to the fold and lets go of it.
   * Resolves to the Euclidean norm of its first vector, the delta, as it was sent.
   */
  fold(key: string, client: string, samples: number, staleness: number): Promise<number>;
  drop(key: string): Promise<void>;
  /**
   * Resolves when every earlier call is done and the memory of its updates is given back.
   */
  rest(): Promise<void>;
  /**
   * Moves the model by the fold.
   * @param model the current one, as a blob; its memory is the reducer's from now on, and the next
   * model's where it fits
   * @throws ModelError `server-step` where the algorithm gives a model or a state that nobody could
   * go on from: numbers that are not finite, another length or type
   */
  finish(model: Uint8Array<ArrayBuffer>, population: number): Promise<Checkpoint>;
  close(): Promise<void>;
}

interface FoldLimits {
  /** The most updates, and the most samples that one may have: they decide the grid. */
  readonly updates: number;
  readonly samples: number;
  /** The most commits that one may be behind. */
  readonly staleness: number;
}

export interface ReducerSettings {
  readonly algorithm: string;
  readonly algorithmSettings: NamedNumbers;
  readonly codec: string;
  readonly layout: Layout;
  /** Goes into every model blob: description, normalisation, class names. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly maxAbs: number;
  readonly maxNorm: number;
  /** Longer vectors are scaled down to this norm; Infinity for none. */
  readonly clipUpdateNorm: number;
}

/** @param own the algorithm itself, where it is not one of the built-in ones. */
export function openReducer(
  settings: ReducerSettings,
  arithmetic: Arithmetic,
  own?: Algorithm,
): Reducer {
  const { layout, maxAbs, maxNorm, clipUpdateNorm, algorithmSettings } = settings;
  const { metadata } = settings;
  const { client, server } = own ?? algorithmNamed(settings.algorithm);
  const form = codecNamed(settings.codec).form(layout, client.sends);
  const kept = new Map<string, { sha256: string; vectors: Vectors }>();
  let state: State;
  let fold: RoundFold | undefined;
  let grid: number | undefined;

  return {
    build: arithmetic.build,
    async load(stored) {
      state = readState(stored, Object.keys(server.state), layout.size);
    },
    async openFold(limits) {
      grid = client.nextState && stateGrid(limits.updates, maxAbs);
      fold = emptyFold(domainOf(server, { size: layout.size, maxAbs, ...limits }), arithmetic);
    },
    async check(key, sha256, bytes) {
      const read = readUpdate({ bytes, sha256, form, maxAbs, maxNorm, grid, arithmetic });
      if (read.refusal === undefined) kept.set(key, { sha256, vectors: read.vectors });
      return read.refusal;
    },
    async fold(key, id, samples, staleness) {
      const update = kept.get(key);
      if (update === undefined || fold === undefined) throw new Error(`nothing to fold for ${key}`);
      kept.delete(key);
      const { sha256, vectors } = update;
      addToFold(
        fold,
        id,
        sha256,
        contributionOf(
          server,
          clipUpdateNorm === Infinity ? vectors : clipped(vectors, clipUpdateNorm),
          samples,
          { staleness, domain: fold.domain },
        ),
        arithmetic,
      );
      return Math.sqrt(arithmetic.squaredNorm(vectors[client.sends[0]]));
    },
    async drop(key) {
      kept.delete(key);
    },
    async rest() {
      collectAll();
    },
    async finish(model, population) {
      if (fold === undefined) throw new Error("no fold is open");
      const global = readBlob(model, layout, [MODEL])[MODEL];
      const next = finishRound(server, {
        global,
        fold: foldFor(fold),
        state,
        settings: algorithmSettings,
        population,
      });
      fold = undefined;
      const checkpoint = checkpointOf(
        server,
        layout,
        metadata,
        next.global,
        next.state,
        population,
        model,
      );
      ({ state } = next);
      // Safe to reuse: only a custom algorithm could still hold a reference.
      if (next.global !== global && own === undefined) release(next.global.buffer);
      return checkpoint;
    },
    async close() {},
  };
}

/** The checkpoint before the first round. */
export function firstCheckpoint(
  { server }: Algorithm,
  settings: NamedNumbers,
  layout: Layout,
  metadata: Readonly<Record<string, string>>,
  weights: Vector,
): Checkpoint {
  const state = Object.fromEntries(
    Object.entries(server.state).map(([name, initial]) => [
      name,
      new Float64Array(layout.size).fill(initial(settings)),
    ]),
  );
  // Nobody has sent anything: sums of nothing, whatever they are divided by.
  return checkpointOf(server, layout, metadata, weights, state, 1);
}

/** @throws ModelError `server-step` for a checkpoint that nobody could go on from. */
function checkpointOf(
  server: Algorithm["server"],
  layout: Layout,
  metadata: Readonly<Record<string, string>>,
  global: Vector,
  state: State,
  population: number,
  into?: Uint8Array<ArrayBuffer>,
): Checkpoint {
  for (const name of Object.keys(server.state))
    requireVector(layout, name, state[name], Float64Array);
  const broadcast = Object.entries(server.broadcast?.(state, population) ?? {}).map(
    ([name, vector]) => [name, Float32Array.from(vector)] as const,
  );
  const vectors = { [MODEL]: global, ...Object.fromEntries(broadcast) };
  for (const [name, vector] of Object.entries(vectors))
    requireVector(layout, name, vector, Float32Array);
  return {
    model: blobOf(writeBlob(layout, vectors, metadata, into)),
    state: blobOf(
      writeSafetensors(
        Object.entries(state).map(([name, data]) => ({
          name,
          shape: [data.length],
          data,
        })),
      ),
    ),
  };
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

const blobOf = (bytes: Uint8Array): Blob => ({
  sha256: sha256Hex(bytes),
  bytes,
});

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
