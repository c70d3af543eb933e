import { wholeModel } from "../codecs/parts/model-blob.js";
import { sha256 } from "../connection/hash.js";
import { ProtocolError } from "../errors.js";
import { loadModel, readCard, type ModelCard } from "../models/model.js";
import type { BlobName } from "../protocol/messages.js";
import { bytesOfHeader } from "../tensors/safetensors.js";
import { Declined } from "./declined.js";
import type { CommittedModel } from "./options.js";

/** A model that is here: read, and as the bytes it came in. */
export interface Loaded {
  readonly model: CommittedModel;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export type ModelCache = ReturnType<typeof modelCache>;

/** Bytes on their way at once where only a header is wanted. */
const HEADER_WINDOW = 16 * 1024;

/**
 * Fetches models by name, and keeps the last one asked for in memory. `download` gives the bytes of
 * a blob to `sink`, in order, until the signal cuts it; `largest` is the most bytes that the device's owner allows.
 */
export function modelCache(
  download: (
    blob: BlobName,
    sink: (bytes: Uint8Array, offset: number) => void,
    cut?: { readonly signal: AbortSignal; readonly window: number },
  ) => Promise<void>,
  largest = Infinity,
) {
  let kept: { readonly sha256: string; readonly loaded: Promise<Loaded> } | undefined;

  async function fetchWhole(blob: BlobName): Promise<Loaded> {
    for (let attempt = 1; attempt <= 2; attempt++) {
      const bytes = new Uint8Array(blob.bytes);
      await download(blob, (chunk, offset) => bytes.set(chunk, offset));
      if ((await sha256(bytes)) === blob.sha256) {
        const whole = wholeModel(bytes);
        return { bytes: whole, model: { ...loadModel(whole), sha256: blob.sha256 } };
      }
    }
    throw new ProtocolError(
      "hash",
      `"model" expected bytes of hash ${blob.sha256}, got others twice`,
    );
  }

  /** The header of a model's file, with whatever came behind it. */
  async function fetchHeader(blob: BlobName): Promise<Uint8Array> {
    let bytes = new Uint8Array();
    const enough = new AbortController();
    const sink = (chunk: Uint8Array) => {
      const longer = new Uint8Array(bytes.length + chunk.length);
      longer.set(bytes);
      longer.set(chunk, bytes.length);
      bytes = longer;
      // Later, when the connection is done with this chunk.
      if (bytes.length >= bytesOfHeader(bytes)) queueMicrotask(() => enough.abort());
    };
    await download(blob, sink, { signal: enough.signal, window: HEADER_WINDOW }).catch(
      (error: unknown) => {
        if (!enough.signal.aborted) throw error;
      },
    );
    return bytes;
  }

  /** @throws Declined `model-bytes` */
  function checkSize({ bytes }: BlobName): void {
    if (bytes > largest)
      throw new Declined("model-bytes", `"model" expected at most ${largest} bytes, got ${bytes}`);
  }

  return {
    checkSize,
    /**
     * What a model says beyond its weights: only the beginning of its file is fetched, and the
     * hash is not checked.
     * @throws as `load`
     */
    async card(blob: BlobName): Promise<ModelCard> {
      if (kept?.sha256 === blob.sha256) return (await kept.loaded).model;
      checkSize(blob);
      return readCard(await fetchHeader(blob));
    },
    /** @throws Declined `model-bytes`; ProtocolError `hash`, or as `Connection.fetch`; ModelError as `loadModel` */
    async load(blob: BlobName): Promise<Loaded> {
      checkSize(blob);
      if (kept?.sha256 !== blob.sha256) {
        const entry = { sha256: blob.sha256, loaded: fetchWhole(blob) };
        kept = entry;
        entry.loaded.catch(() => {
          if (kept === entry) kept = undefined;
        });
      }
      return kept.loaded;
    },
  };
}
