import { digest, toHex } from "../connection/hash.js";
import { utf8, type Bytes, type SecureAttempt } from "./keys.js";

/** One client of a secure round, as every other one is told of it: hexadecimal but for the weight. */
export interface SecureMember {
  /** Raw Ed25519 public key, of which the client's id is the SHA-256. */
  readonly key: string;
  /** X25519 public keys of this attempt: for sealed messages, and for masks in pairs. */
  readonly cipher: string;
  readonly mask: string;
  readonly weight: number;
  /** Ed25519 over `keysText`. */
  readonly signature: string;
}

/** A member with its id. */
export type IdentifiedMember = SecureMember & { readonly id: string };

const hashOf = async (text: string): Promise<string> => toHex(await digest(utf8(text)));

const lines = (
  name: string,
  { run, round, attempt }: SecureAttempt,
  ...more: (string | number)[]
) => utf8([`fedflat/1 secagg ${name}`, run, round, attempt, ...more].join("\n"));

/** What a client signs of its keys. @param terms the text of the round's terms, as it came */
export const keysText = async (
  attempt: SecureAttempt,
  { cipher, mask, weight }: Pick<SecureMember, "cipher" | "mask" | "weight">,
  terms: string,
): Promise<Bytes> => lines("keys", attempt, cipher, mask, weight, await hashOf(terms));

/**
 * What a client signs of those who are in the round: the members (U1), those who sent shares (U2),
 * and those whose masked update is in the sum (U3).
 */
export const survivorsText = async (
  attempt: SecureAttempt,
  members: readonly IdentifiedMember[],
  sharers: readonly string[],
  survivors: readonly string[],
): Promise<Bytes> => {
  const sorted = [...members].sort((a, b) => (a.id < b.id ? -1 : 1));
  const texts = [
    sorted.flatMap(({ id, cipher, mask, weight }) => [id, cipher, mask, weight]),
    [...sharers].sort(),
    [...survivors].sort(),
  ];
  const hashes = await Promise.all(texts.map((text) => hashOf(text.join("\n"))));
  return lines("survivors", attempt, ...hashes);
};

/** Whether it is the signature of that key over the text. */
export async function isSigned(text: Bytes, key: Bytes, signature: Bytes): Promise<boolean> {
  try {
    const publicKey = await crypto.subtle.importKey("raw", key, "Ed25519", false, ["verify"]);
    return await crypto.subtle.verify("Ed25519", publicKey, signature, text);
  } catch {
    return false;
  }
}
