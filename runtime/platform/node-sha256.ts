import { createHash } from "node:crypto";

/** SHA-256 of bytes, or of a text in UTF-8, at once; `connection/hash.ts` has the browser's. */
export const sha256 = (data: string | Uint8Array): Buffer =>
  createHash("sha256").update(data).digest();

/** The same in lower-case hexadecimal: the name of a blob, the id of a key. */
export const sha256Hex = (data: string | Uint8Array): string => sha256(data).toString("hex");
