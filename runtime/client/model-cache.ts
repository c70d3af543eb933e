import { sha256 } from "../connection/hash.js";
import { ProtocolError } from "../errors.js";
import { loadModel } from "../models/model.js";
import type { BlobName } from "../protocol/messages.js";
import { Declined } from "./declined.js";
import type { CommittedModel } from "./options.js";

/** A model that is here: read, and as the bytes it came in. */
export interface Loaded {
  readonly model: CommittedModel;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/**
 * Fetches models by name, and keeps the last one asked for in memory. `download` gives the bytes of
 * a blob to `sink`, in order; `largest` is the most bytes that the device's owner allows.
 */
export function modelShelf(
  download: (blob: BlobName, sink: (bytes: Uint8Array, offset: number) => void) => Promise<void>,
  largest = Infinity,
) {
  let kept: { readonly sha256: string; readonly loaded: Promise<Loaded> } | undefined;

  async function fetchWhole(blob: BlobName): Promise<Loaded> {
    for (let attempt = 1; attempt <= 2; attempt++) {
      const bytes = new Uint8Array(blob.bytes);
      await download(blob, (chunk, offset) => bytes.set(chunk, offset));
      if ((await sha256(bytes)) === blob.sha256)
        return { bytes, model: { ...loadModel(bytes), sha256: blob.sha256 } };
    }
    throw new ProtocolError(
      "hash",
      `"model" expected bytes of hash ${blob.sha256}, got others twice`,
    );
  }

  /** @throws Declined `model-bytes` */
  function checkSize({ bytes }: BlobName): void {
    if (bytes > largest)
      throw new Declined("model-bytes", `"model" expected at most ${largest} bytes, got ${bytes}`);
  }

  return {
    checkSize,
    /** @throws Declined `model-bytes`; ProtocolError `hash`, or as `Connection.fetch`; ModelError as `loadModel` */
    async load(blob: BlobName): Promise<Loaded> {
      checkSize(blob);
      if (kept?.sha256 !== blob.sha256) {
        const shelved = { sha256: blob.sha256, loaded: fetchWhole(blob) };
        kept = shelved;
        shelved.loaded.catch(() => {
          if (kept === shelved) kept = undefined;
        });
      }
      return kept.loaded;
    },
  };
}
