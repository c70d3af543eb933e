import type { Blob } from "./ledger.js";

/** Committed models that clients can still fetch. */
const KEPT = 3;

/** The models of the last committed rounds; the newest is the global model. */
export interface Models {
  /** How many rounds are committed. */
  readonly round: number;
  /** The global model. */
  readonly current: Blob;
  /** What clients that can read it are given instead, where the run sends models as halves. */
  readonly half: Blob | undefined;
  /** Takes the model that a committed round has made, and lets go of the oldest. */
  keep(round: number, model: Blob, half?: Blob): void;
  /** One that is still here. */
  bytesOf(sha256: string): Uint8Array | undefined;
}

export function openModels(): Models {
  const kept = new Map<string, Blob[]>();
  let round = 0;
  let current: Blob | undefined;
  let half: Blob | undefined;
  return {
    get half() {
      return half;
    },
    get round() {
      return round;
    },
    get current() {
      if (current === undefined) throw new Error("the run has not begun");
      return current;
    },
    keep(number, model, halved) {
      round = number;
      current = model;
      half = halved;
      kept.delete(model.sha256);
      kept.set(model.sha256, halved === undefined ? [model] : [model, halved]);
      for (const sha256 of kept.keys()) if (kept.size > KEPT) kept.delete(sha256);
    },
    bytesOf: (sha256) => [...kept.values()].flat().find((blob) => blob.sha256 === sha256)?.bytes,
  };
}
