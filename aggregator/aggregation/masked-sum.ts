import {
  agreed,
  agreementKey,
  fromHex,
  pairKey,
  selfKey,
  type SecureAttempt,
} from "../../runtime/secure/keys.js";
import { addMask } from "../../runtime/secure/masks.js";

/** A client whose masks are in a sum, or were to be. */
export interface MaskedClient {
  readonly id: string;
  /** X25519 public key of its masks in pairs, hexadecimal. */
  readonly mask: string;
  /** With whom it has masks in common, of those whose update is in the sum or was to be. */
  readonly neighbours: readonly string[];
}

/** Secrets by client: seeds of those in the sum, secret keys of those who were to be. */
export interface Unmasking {
  readonly attempt: SecureAttempt;
  readonly clients: readonly MaskedClient[];
  readonly seeds: ReadonlyMap<string, Uint8Array>;
  readonly keys: ReadonlyMap<string, Uint8Array>;
}

/**
 * Takes the masks off a sum, in place: what each client in it added for itself, and what was added
 * for those who then did not come. Masks between two who are in cancelled out.
 */
export async function unmask(
  sum: Uint32Array,
  { attempt, clients, seeds, keys }: Unmasking,
): Promise<void> {
  const known = new Map(clients.map((client) => [client.id, client]));
  for (const seed of seeds.values()) await addMask(sum, await selfKey(seed, attempt), -1);
  for (const [gone, secret] of keys) {
    const key = await agreementKey(secret);
    for (const id of known.get(gone)!.neighbours) {
      if (!seeds.has(id)) continue;
      const shared = await agreed(key, fromHex(known.get(id)!.mask));
      await addMask(sum, await pairKey(shared, attempt, id, gone), id < gone ? -1 : 1);
    }
  }
}

/** Adds a masked update, little-endian words of 32 bits, in Z_2^32. */
export function addMasked(sum: Uint32Array, bytes: Uint8Array): void {
  const words = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let i = 0; i < sum.length; i++) sum[i] += words.getUint32(4 * i, true);
}
