import { wholeModel } from "../codecs/parts/model-blob.js";
import { blobOfHeld, follow, heldIn, differenceForm } from "../codecs/parts/model-difference.js";
import { sha256 } from "../connection/hash.js";
import { ProtocolError } from "../errors.js";
import { baseNamed } from "../models/base.js";
import { loadModel, readCard, type ModelCard } from "../models/model.js";
import type { StateStore } from "../platform/platform.js";
import type { BlobName, DifferenceName } from "../protocol/fields.js";
import { bytesOfHeader, readMetadata } from "../tensors/safetensors.js";
import { Declined } from "./declined.js";
import { joined } from "./joined.js";
import type { CommittedModel } from "./options.js";

/** A model that is here: read, and as the bytes it came in. */
export interface Loaded {
  readonly model: CommittedModel;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export type ModelCache = ReturnType<typeof modelCache>;

/** Where bases are kept (models/base.ts); the last one that was asked for. */
type Bases = Pick<StateStore, "get" | "put" | "delete" | "list">;
const BASES = "base.";

type Download = (
  blob: BlobName,
  sink: (bytes: Uint8Array, offset: number) => void,
  cut?: { readonly signal: AbortSignal; readonly window: number },
) => Promise<void>;

/** Bytes on their way at once where only a header is wanted. */
const HEADER_WINDOW = 16 * 1024;

/**
 * Fetches models by name, and keeps the last one asked for in memory. `download` gives the bytes of
 * a blob to `sink`, in order, until the signal cuts it; `largest` is the most bytes that the device's owner allows,
 * for a round's model and for its base alike.
 */
export function modelCache(
  download: Download,
  largest = Infinity,
  bases?: () => Bases | undefined,
) {
  type Kept = { readonly sha256: string; readonly loaded: Promise<Loaded> };
  let kept: Kept | undefined;
  /** A base that the device's store could not take. */
  let unstored: { readonly sha256: string; readonly bytes: Uint8Array } | undefined;

  async function fetchBytes(blob: BlobName): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(blob.bytes);
    await download(blob, (chunk, offset) => bytes.set(chunk, offset));
    return bytes;
  }

  async function loadedFrom(bytes: Uint8Array<ArrayBuffer>, { sha256 }: BlobName): Promise<Loaded> {
    const named = baseNamed(readMetadata(bytes));
    const base = named && (await baseOf(named));
    return { bytes, model: { ...loadModel(bytes, base), sha256, base: named?.sha256 } };
  }

  /**
   * The model that differences lead to from the one that is held; nothing where none begins there,
   * where they are no shorter than it, or where they lead elsewhere.
   */
  async function fetchDifferences(
    blob: BlobName,
    from: Kept | undefined,
    differences: readonly DifferenceName[],
  ): Promise<Loaded | undefined> {
    const way = differences.slice(differences.findIndex(({ base }) => base === from?.sha256));
    const length = way.reduce((sum, { bytes }) => sum + bytes, 0);
    if (from === undefined || way[0]?.base !== from.sha256 || length >= blob.bytes)
      return undefined;
    let held = heldIn((await from.loaded).bytes);
    const form = differenceForm(held.layout);
    for (const difference of way) {
      if (difference.bytes !== form.bytes) return undefined;
      const bytes = await fetchBytes(difference);
      if ((await sha256(bytes)) !== difference.sha256) return undefined;
      held = follow(held, bytes, form);
    }
    const bytes = blobOfHeld(held);
    return (await sha256(bytes)) === blob.sha256 ? loadedFrom(bytes, blob) : undefined;
  }

  const fetchWhole = async (blob: BlobName): Promise<Loaded> =>
    loadedFrom(wholeModel(await fetchChecked(blob)), blob);

  async function baseOf(name: BlobName): Promise<Uint8Array> {
    checkSize(name);
    const { sha256 } = name;
    if (unstored?.sha256 === sha256) return unstored.bytes;
    return keptBase(bases?.(), name, fetchChecked, (bytes) => (unstored = { sha256, bytes }));
  }

  async function fetchChecked(blob: BlobName): Promise<Uint8Array<ArrayBuffer>> {
    for (let attempt = 1; attempt <= 2; attempt++) {
      const bytes = await fetchBytes(blob);
      if ((await sha256(bytes)) === blob.sha256) return bytes;
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
    /**
     * What a model says beyond its weights: only the beginning of its file is fetched, and the
     * hash is not checked.
     * @throws as `load`
     */
    async card(blob: BlobName): Promise<ModelCard> {
      if (kept?.sha256 === blob.sha256) return (await kept.loaded).model;
      checkSize(blob);
      return readCard(await headerOf(download, blob));
    },
    /**
     * @param differences that lead to it from models before it, where the aggregator has some
     * @throws Declined `model-bytes`; ProtocolError `hash`, or as `Connection.fetch`; ModelError as `loadModel`
     */
    async load(blob: BlobName, differences: readonly DifferenceName[] = []): Promise<Loaded> {
      checkSize(blob);
      if (kept?.sha256 !== blob.sha256) {
        // What is wrong with a difference, the whole model does without.
        const loaded = fetchDifferences(blob, kept, differences)
          .catch(() => undefined)
          .then((model) => model ?? fetchWhole(blob));
        const entry = { sha256: blob.sha256, loaded };
        kept = entry;
        entry.loaded.catch(() => {
          if (kept === entry) kept = undefined;
        });
      }
      return kept.loaded;
    },
  };
}

/**
 * A base from the device's store, else fetched, and kept there in place of any other. A full disk
 * keeps no device from its work: `unstored` takes what the store does not.
 */
async function keptBase(
  store: Bases | undefined,
  name: BlobName,
  fetch: (blob: BlobName) => Promise<Uint8Array<ArrayBuffer>>,
  unstored: (bytes: Uint8Array) => void,
): Promise<Uint8Array> {
  const key = `${BASES}${name.sha256}`;
  const known = await store?.get(key);
  if (known !== undefined && (await sha256(known.slice())) === name.sha256) return known;
  const bytes = await fetch(name);
  try {
    for (const old of (await store?.list()) ?? [])
      if (old.startsWith(BASES)) await store?.delete(old);
    await store?.put(key, bytes);
  } catch {
    unstored(bytes);
  }
  return bytes;
}

/** The header of a model's file, with whatever came behind it. */
async function headerOf(download: Download, blob: BlobName): Promise<Uint8Array> {
  let bytes = new Uint8Array();
  const enough = new AbortController();
  const sink = (chunk: Uint8Array) => {
    bytes = joined(bytes, chunk);
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
