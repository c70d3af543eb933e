import { sha256Hex } from "../../runtime/platform/node-sha256.js";
import type { Blob } from "../storage/ledger.js";

export const blobOf = (bytes: Uint8Array): Blob => ({ sha256: sha256Hex(bytes), bytes });
