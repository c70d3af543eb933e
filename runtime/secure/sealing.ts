import { contextOf, sealingKey, utf8, type Bytes, type SecureAttempt } from "./keys.js";

/** What one client tells another through the aggregator: its shares of two secrets. */
export interface SealedShares {
  /** The holder's place among those who hold shares of that client. */
  readonly x: number;
  /** Of the seed of its own mask, and of the secret key of its masks in pairs; 32 bytes each. */
  readonly seed: Bytes;
  readonly secret: Bytes;
}

/** Bytes of a sealed message: x, two shares, and the tag. */
export const SEALED_BYTES = 1 + 32 + 32 + 16;

/** AES-256-GCM under a key that seals nothing else, so that its nonce may be zero. */
async function box(shared: Bytes, attempt: SecureAttempt, from: string, to: string) {
  const raw = await sealingKey(shared, attempt, from, to);
  const key = await crypto.subtle.importKey("raw", raw, "AES-GCM", false, ["encrypt", "decrypt"]);
  const additionalData = utf8(`${contextOf(attempt)}\n${from}\n${to}`);
  return { key, algorithm: { name: "AES-GCM", iv: new Uint8Array(12), additionalData } };
}

/** @param shared of the two clients' keys for messages */
export async function sealed(
  shares: SealedShares,
  shared: Bytes,
  attempt: SecureAttempt,
  from: string,
  to: string,
): Promise<Bytes> {
  const { key, algorithm } = await box(shared, attempt, from, to);
  const { x, seed, secret } = shares;
  const plain = new Uint8Array([x, ...seed, ...secret]);
  return new Uint8Array(await crypto.subtle.encrypt(algorithm, key, plain));
}

/** Nothing where the message is not what `from` sealed for `to` in this attempt. */
export async function opened(
  message: Bytes,
  shared: Bytes,
  attempt: SecureAttempt,
  from: string,
  to: string,
): Promise<SealedShares | undefined> {
  if (message.length !== SEALED_BYTES) return undefined;
  const { key, algorithm } = await box(shared, attempt, from, to);
  try {
    const plain = new Uint8Array(await crypto.subtle.decrypt(algorithm, key, message));
    return { x: plain[0], seed: plain.slice(1, 33), secret: plain.slice(33) };
  } catch {
    return undefined;
  }
}
