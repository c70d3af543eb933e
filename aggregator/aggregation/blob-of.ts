import { sha256Hex } from "../../runtime/platform/node-sha256.js";
import type { Blob } from "../storage/ledger.js";

/** Bytes under their name, as messages and the ledger know them. */
export const blobOf = (bytes: Uint8Array): Blob => ({ sha256: sha256Hex(bytes), bytes });
