import { sha256Hex } from "../../runtime/platform/node-sha256.js";
import {
  readMetadata,
  readSafetensors,
  writeSafetensors,
} from "../../runtime/tensors/safetensors.js";
import type { Blob } from "../storage/ledger.js";

type Metadata = Readonly<Record<string, string>>;

/** The same weights with other metadata, in which the card stands. */
export function withMetadata(model: Blob, change: (metadata: Metadata) => Metadata): Blob {
  const bytes = writeSafetensors(
    [...readSafetensors(model.bytes).tensors.values()],
    change(readMetadata(model.bytes)),
  );
  return { sha256: sha256Hex(bytes), bytes };
}
