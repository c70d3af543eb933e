import type { Loaded } from "../../runtime/client/model-cache.js";
import { wholeModel } from "../../runtime/codecs/parts/model-blob.js";
import type { Connection } from "../../runtime/connection/connection.js";
import { ProtocolError } from "../../runtime/errors.js";
import { baseNamed } from "../../runtime/models/base.js";
import { loadModel } from "../../runtime/models/model.js";
import { sha256Hex } from "../../runtime/platform/node-sha256.js";
import type { BlobName } from "../../runtime/protocol/fields.js";
import { readMetadata } from "../../runtime/tensors/safetensors.js";

/** What a client fetches by. */
type Line = Pick<Connection, "fetch">;

interface Shared {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Bytes here, from the beginning. */
  held: number;
  loaded: Loaded | undefined;
}

/** What rounds have in common (runtime/models/base.ts). */
interface SharedBase {
  readonly sha256: string;
  readonly bytes: Promise<Uint8Array>;
}

/** Models that are kept; older ones are fetched again. */
const KEPT = 2;

export interface SharedModels {
  /**
   * @throws ProtocolError `hash` where the bytes are not those named, or as `Connection.fetch`;
   * ModelError as `loadModel`
   */
  fetch(connection: Line, name: BlobName): Promise<Loaded>;
  /** One that is here. */
  get(sha256: string): Loaded | undefined;
}

/**
 * The models of a fleet, each in memory once: every client downloads all of its bytes, the first to
 * have some brings them here, and those of the others are compared with them. The base of a model
 * one client fetches for all.
 */
export function sharedModels(): SharedModels {
  const all = new Map<string, Shared>();
  let base: SharedBase | undefined;

  function baseOf(connection: Line, name: BlobName): Promise<Uint8Array> {
    if (base?.sha256 === name.sha256) return base.bytes;
    const entry = { sha256: name.sha256, bytes: fetchBase(connection, name) };
    base = entry;
    // The next one who needs it asks again.
    entry.bytes.catch(() => {
      if (base === entry) base = undefined;
    });
    return entry.bytes;
  }

  async function fetch(connection: Line, name: BlobName): Promise<Loaded> {
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
    const { bytes } = shared;
    same &&= shared.loaded !== undefined || sha256Hex(bytes) === name.sha256;
    if (!same) {
      all.delete(name.sha256);
      throw otherBytes(name);
    }
    if (shared.loaded === undefined) {
      const whole = wholeModel(bytes);
      const named = baseNamed(readMetadata(whole));
      const rest = named && (await baseOf(connection, named));
      // Others may have been quicker.
      shared.loaded ??= {
        bytes: whole,
        model: { ...loadModel(whole, rest), sha256: name.sha256 },
      };
    }
    return shared.loaded;
  }

  return { fetch, get: (sha256) => all.get(sha256)?.loaded };
}

async function fetchBase(connection: Line, name: BlobName): Promise<Uint8Array> {
  const bytes = new Uint8Array(name.bytes);
  await connection.fetch(name, (chunk, offset) => bytes.set(chunk, offset));
  if (sha256Hex(bytes) !== name.sha256) throw otherBytes(name);
  return bytes;
}

const otherBytes = ({ sha256 }: BlobName): ProtocolError =>
  new ProtocolError("hash", `"model" expected bytes of hash ${sha256}, got others`);
