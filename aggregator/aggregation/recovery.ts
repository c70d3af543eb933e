import { secretOf, type SecretShare } from "../../runtime/secure/shamir.js";

/** A secret to be put together, and how it is known to be right. */
export interface WantedSecret {
  /** Whose it is. */
  readonly client: string;
  /** The shares that came, by who holds them. */
  readonly shares: ReadonlyMap<string, SecretShare>;
  isRight(secret: Uint8Array): Promise<boolean>;
}

/**
 * The secrets, by client, each of any t of its shares; nothing where one of them cannot be had of
 * those that came. A wrong one names neither holder nor dealer, so other shares are tried: without
 * one of the holders, then without two.
 */
export async function recovered(
  wanted: readonly WantedSecret[],
  threshold: number,
): Promise<ReadonlyMap<string, Uint8Array> | undefined> {
  const secrets = new Map<string, Uint8Array>();
  /** Who was left out last: a holder that lies in one share lies in others. */
  let liars: readonly string[] = [];
  for (const { client, shares, isRight } of wanted) {
    const holders = [...shares.keys()].sort();
    const without = async (left: readonly string[]): Promise<boolean> => {
      const chosen = holders.filter((holder) => !left.includes(holder)).slice(0, threshold);
      if (chosen.length < threshold) return false;
      const secret = secretOf(chosen.map((holder) => shares.get(holder)!));
      if (!(await isRight(secret))) return false;
      secrets.set(client, secret);
      liars = left;
      return true;
    };
    if (await without(liars)) continue;
    let found = false;
    for (const left of fewLeftOut(holders, threshold)) if ((found = await without(left))) break;
    if (!found) return undefined;
  }
  return secrets;
}

/** Nobody, one or two of those that would be among the first t. */
function* fewLeftOut(holders: readonly string[], threshold: number): Generator<readonly string[]> {
  yield [];
  const first = holders.slice(0, threshold);
  for (const one of first) yield [one];
  for (const one of first)
    for (const other of holders.slice(0, threshold + 1)) if (one < other) yield [one, other];
}
