import { createPublicKey, timingSafeEqual, verify } from "node:crypto";
import { sha256, sha256Hex } from "../../runtime/platform/node-sha256.js";
import { proofBytes, type Proof } from "../../runtime/protocol/signing.js";
import type { KeyRing } from "./enrolment.js";

/** Which keys are admitted; see docs/protocol.md, section 4. */
export type Admission =
  /** Any key. Only for loopback. */
  | { readonly kind: "any" }
  /** Every client that shows the token of a lab. */
  | { readonly kind: "token"; readonly token: string }
  /** The clients with these ids. */
  | { readonly kind: "keys"; readonly ids: ReadonlySet<string> }
  /**
   * Clients that are enrolled, or show a token that enrols them. A key that is revoked loses its
   * connection.
   */
  | { readonly kind: "enrolled"; readonly keys: KeyRing };

/** Why this client is not admitted, or nothing. */
export async function notAdmitted(
  admission: Admission,
  client: string,
  token: string | null,
): Promise<string | undefined> {
  switch (admission.kind) {
    case "any":
      return undefined;
    case "token":
      return token !== null && sameText(admission.token, token)
        ? undefined
        : `"token" expected the token of this aggregator, got ${token === null ? "none" : "another"}`;
    case "keys":
      return admission.ids.has(client)
        ? undefined
        : `"key" expected one that is enrolled, got that of ${client.slice(0, 32)}`;
    case "enrolled": {
      const { keys } = admission;
      if (await keys.admits(client)) return undefined;
      if (token === null)
        return `"key" expected one that is enrolled, or a token that enrols it, got that of ${client.slice(0, 32)}`;
      return (await keys.redeem(token, client))
        ? undefined
        : `"token" expected one that was not used yet and is not too old, got another`;
    }
  }
}

/** Compares in a time that tells nothing. */
export const sameText = (a: string, b: string): boolean => timingSafeEqual(sha256(a), sha256(b));

/** The id of the client with this raw public key (hex). */
export const clientIdOf = (key: string): string => sha256Hex(Buffer.from(key, "hex"));

/** 2^255 - 19, the field's prime. */
const PRIME = 2n ** 255n - 19n;
/** The y of a point of order 8 (RFC 8032's curve); with the one below, of all four of them. */
const ORDER_8 = BigInt("0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826");
/** The y of the eight points whose order is 1, 2, 4 or 8; each stands for x and -x. */
const SMALL_ORDER = new Set([0n, 1n, PRIME - 1n, ORDER_8, PRIME - ORDER_8]);

/**
 * Why a raw public key is no key of anybody, or nothing. For a point of small order signatures can
 * be made without a private key, and an encoding beyond the prime gives one key two ids.
 */
export function wrongKey(key: string): string | undefined {
  const bytes = Buffer.from(key, "hex").reverse();
  // The highest bit is the sign of x.
  bytes[0] &= 0x7f;
  const y = BigInt(`0x${bytes.toString("hex")}`);
  if (y >= PRIME) return `"key" expected an Ed25519 key as RFC 8032 writes it, got another form`;
  if (SMALL_ORDER.has(y))
    return `"key" expected an Ed25519 key with a private one, got a point of small order`;
  return undefined;
}

/** SubjectPublicKeyInfo of an Ed25519 key, up to its 32 bytes (RFC 8410). */
const SPKI_PREFIX = Buffer.from("302a300506032b6570032100", "hex");

/** Whether the signature over the proof was made with this key. */
export function provenBy(key: string, proof: Proof, signature: string): boolean {
  try {
    return verify(
      null,
      proofBytes(proof),
      createPublicKey({
        key: Buffer.concat([SPKI_PREFIX, Buffer.from(key, "hex")]),
        format: "der",
        type: "spki",
      }),
      Buffer.from(signature, "hex"),
    );
  } catch {
    return false;
  }
}
