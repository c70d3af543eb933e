import { digest } from "../connection/hash.js";
import { ProtocolError } from "../errors.js";

/**
 * Keys of secure aggregation, by WebCrypto alone: X25519 (RFC 7748), HKDF-SHA-256 (RFC 5869). All of
 * them are bound to one attempt at a round.
 */

/** An attempt at a secure round, which no key outlives. */
export interface SecureAttempt {
  /** 128 bits, lower-case hexadecimal. */
  readonly run: string;
  readonly round: number;
  readonly attempt: number;
}

/** Bytes as WebCrypto takes them. */
export type Bytes = Uint8Array<ArrayBuffer>;

export const utf8 = (text: string): Bytes => new TextEncoder().encode(text);

/** Bytes of lower-case hexadecimal digits. */
export function fromHex(hex: string): Bytes {
  const bytes = new Uint8Array(hex.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = parseInt(hex.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}

/** What every key and every sealed message of an attempt is bound to. */
export const contextOf = ({ run, round, attempt }: SecureAttempt): string =>
  `fedflat/1 secagg\n${run}\n${round}\n${attempt}`;

/** PKCS #8 of an X25519 key, up to its 32 bytes (RFC 8410). */
const PKCS8_PREFIX = fromHex("302e020100300506032b656e04220420");
/** u = 9. */
const BASE = Uint8Array.from({ length: 32 }, (_, i) => (i === 0 ? 9 : 0));

/** A secret key of 32 bytes, read once for many agreements: to read it takes as long as one. */
export async function agreementKey(secret: Uint8Array): Promise<CryptoKey> {
  const pkcs8 = new Uint8Array([...PKCS8_PREFIX, ...secret]);
  const key = await crypto.subtle.importKey("pkcs8", pkcs8, "X25519", false, ["deriveBits"]);
  pkcs8.fill(0);
  return key;
}

/**
 * X25519 of a secret key and a public one of 32 bytes.
 * @throws ProtocolError `key` where the result is zero: the public key is of small order
 */
export async function agreed(
  secret: CryptoKey | Uint8Array,
  publicKey: Uint8Array,
): Promise<Bytes> {
  const own = secret instanceof Uint8Array ? await agreementKey(secret) : secret;
  const other = await crypto.subtle.importKey("raw", publicKey.slice(), "X25519", false, []);
  let shared = new Uint8Array(32);
  try {
    const algorithm = { name: "X25519", public: other };
    shared = new Uint8Array(await crypto.subtle.deriveBits(algorithm, own, 256));
  } catch {
    // What the standard does with a key of small order.
  }
  if (shared.some((byte) => byte !== 0)) return shared;
  throw new ProtocolError("key", `"key" expected an X25519 key, got one of small order`);
}

export const publicKeyOf = (secret: Uint8Array): Promise<Bytes> => agreed(secret, BASE);

/** HKDF-SHA-256 of a secret to 32 bytes, salted with the attempt. */
async function derived(secret: Uint8Array, attempt: SecureAttempt, info: string): Promise<Bytes> {
  const key = await crypto.subtle.importKey("raw", secret.slice(), "HKDF", false, ["deriveBits"]);
  const salt = await digest(utf8(contextOf(attempt)));
  const algorithm = { name: "HKDF", hash: "SHA-256", salt, info: utf8(`fedflat/1 secagg ${info}`) };
  return new Uint8Array(await crypto.subtle.deriveBits(algorithm, key, 256));
}

/** The key of what client `from` seals for client `to`. */
export const sealingKey = (shared: Bytes, attempt: SecureAttempt, from: string, to: string) =>
  derived(shared, attempt, `share\n${from}\n${to}`);

/** The key of the mask that two clients have in common. */
export const pairKey = (shared: Bytes, attempt: SecureAttempt, a: string, b: string) =>
  derived(shared, attempt, a < b ? `pair\n${a}\n${b}` : `pair\n${b}\n${a}`);

/** The key of a client's own mask. */
export const selfKey = (seed: Uint8Array, attempt: SecureAttempt) => derived(seed, attempt, "self");

/** By which a seed that is put together from shares is known to be right. */
export const commitmentOf = (seed: Uint8Array): Promise<Bytes> =>
  digest(new Uint8Array([...utf8("fedflat/1 secagg seed\n"), ...seed]));
