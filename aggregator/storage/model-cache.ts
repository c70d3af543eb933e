import { MOST_DIFFERENCES } from "../../runtime/protocol/fields.js";
import type { Blob } from "./ledger.js";
import { wholeOf } from "./whole-model.js";

/** Committed models that clients can still fetch. */
const KEPT = 3;

/** What leads a client from one model that it holds to another, in fewer bytes. */
export interface ModelDifference {
  /** SHA-256 of the models. */
  readonly base: string;
  readonly result: string;
  readonly blob: Blob;
}

/** The forms in which a model is sent. */
export interface ModelForms {
  /** For clients that can read it: the model as halves. */
  readonly half?: Blob;
  /** For all clients: what those hold that add differences. */
  readonly shadow?: Blob;
  readonly difference?: ModelDifference;
}

/** The models of the last committed rounds; the newest is the global model. */
export interface Models {
  /** How many rounds are committed. */
  readonly round: number;
  /** The global model. */
  readonly current: Blob;
  /** What clients are given instead, where the run does not send it as it is. */
  readonly forms: ModelForms;
  /** Differences that lead to that model from older ones, in order. */
  differencesTo(sha256: string): readonly ModelDifference[];
  /** Takes the model that a committed round has made, and lets go of the oldest. */
  keep(round: number, model: Blob, forms: ModelForms): void;
  /** A model as a file that stands alone: `wholeOf`. */
  whole(model: Blob): Blob;
  /** One that is still here. */
  bytesOf(sha256: string): Uint8Array | undefined;
}

/** @param base what of every model is the same, and can be fetched as long as the run lasts */
export function openModels(base?: Blob): Models {
  const kept = new Map<string, { readonly model: Blob } & ModelForms>();
  let round = 0;
  let current: Blob | undefined;
  let forms: ModelForms = {};
  return {
    get forms() {
      return forms;
    },
    get round() {
      return round;
    },
    get current() {
      if (current === undefined) throw new Error("the run has not begun");
      return current;
    },
    differencesTo(sha256) {
      const differences: ModelDifference[] = [];
      for (let at = sha256; differences.length < MOST_DIFFERENCES;) {
        const difference = [...kept.values()].find(
          (one) => one.difference?.result === at,
        )?.difference;
        if (difference === undefined) break;
        differences.unshift(difference);
        at = difference.base;
      }
      return differences;
    },
    keep(number, model, given) {
      round = number;
      current = model;
      forms = given;
      kept.delete(model.sha256);
      kept.set(model.sha256, { model, ...given });
      for (const sha256 of kept.keys()) if (kept.size > KEPT) kept.delete(sha256);
    },
    whole: (model) => wholeOf(model, base),
    bytesOf: (sha256) =>
      [...kept.values()]
        .flatMap(({ model, half, shadow, difference }) => [model, half, shadow, difference?.blob])
        .concat(base)
        .find((blob) => blob?.sha256 === sha256)?.bytes,
  };
}
