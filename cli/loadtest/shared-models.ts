import type { Loaded } from "../../runtime/client/model-cache.js";
import type { Connection } from "../../runtime/connection/connection.js";
import { ProtocolError } from "../../runtime/errors.js";
import { loadModel } from "../../runtime/models/model.js";
import { sha256Hex } from "../../runtime/platform/node-sha256.js";
import type { BlobName } from "../../runtime/protocol/messages.js";

interface Shared {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Bytes here, from the beginning. */
  held: number;
  loaded: Loaded | undefined;
}

/** Models that are kept; older ones are fetched again. */
const KEPT = 2;

export interface SharedModels {
  /**
   * @throws ProtocolError `hash` where the bytes are not those named, or as `Connection.fetch`;
   * ModelError as `loadModel`
   */
  fetch(connection: Connection, name: BlobName): Promise<Loaded>;
  /** One that is here. */
  get(sha256: string): Loaded | undefined;
}

/**
 * The models of a fleet, each in memory once: every client downloads all of its bytes, the first to
 * have some brings them here, and those of the others are compared with them.
 */
export function sharedModels(): SharedModels {
  const all = new Map<string, Shared>();

  async function fetch(connection: Connection, name: BlobName): Promise<Loaded> {
    const shared = all.get(name.sha256) ?? {
      bytes: new Uint8Array(name.bytes),
      held: 0,
      loaded: undefined,
    };
    all.delete(name.sha256);
    all.set(name.sha256, shared);
    for (const sha256 of all.keys()) if (all.size > KEPT) all.delete(sha256);
    let same = true;
    await connection.fetch(name, (chunk, offset) => {
      const known = Math.max(0, Math.min(chunk.length, shared.held - offset));
      same &&=
        Buffer.compare(chunk.subarray(0, known), shared.bytes.subarray(offset, offset + known)) ===
        0;
      if (known === chunk.length || offset + known !== shared.held) return;
      shared.bytes.set(chunk.subarray(known), shared.held);
      shared.held = offset + chunk.length;
    });
    if (shared.loaded === undefined) {
      const { bytes } = shared;
      same &&= sha256Hex(bytes) === name.sha256;
      if (same)
        shared.loaded = {
          bytes,
          model: { ...loadModel(bytes), sha256: name.sha256 },
        };
    }
    if (!same || shared.loaded === undefined) {
      all.delete(name.sha256);
      throw new ProtocolError("hash", `"model" expected bytes of hash ${name.sha256}, got others`);
    }
    return shared.loaded;
  }

  return { fetch, get: (sha256) => all.get(sha256)?.loaded };
}
