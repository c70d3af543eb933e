import { labIdentity } from "../../runtime/platform/node-identity.js";
import { digest, toHex } from "../../runtime/connection/hash.js";
import {
  participant,
  type Participant,
  type ParticipantOptions,
} from "../../runtime/secure/participant.js";
import type { SecureMember } from "../../runtime/secure/texts.js";

export const ATTEMPT = { run: "0123456789abcdef0123456789abcdef", round: 2, attempt: 1 };
export const TERMS = `{"some":"terms"}`;

/** A client of a secure round without a network. */
export interface Joined {
  readonly id: string;
  readonly index: number;
  readonly update: Int32Array;
  readonly part: Participant;
  readonly member: SecureMember;
}

/** So many clients with their keys, in rising order of ids. Updates are numbers made of the index. */
export async function joined(
  count: number,
  options: Partial<ParticipantOptions> = {},
): Promise<readonly Joined[]> {
  const all = await Promise.all(
    Array.from({ length: count }, async (_, index) => {
      const identity = labIdentity("secure", index);
      const id = toHex(await digest(identity.publicKey.slice()));
      const update = Int32Array.from({ length: 33 }, (_, i) => (i - 16) * 1_000_003 * (index + 1));
      const part = participant({
        attempt: ATTEMPT,
        terms: TERMS,
        identity,
        update: update.slice(),
        weight: index + 1,
        least: 4,
        ...options,
      });
      return { id, index, update, part, member: await part.keys() };
    }),
  );
  return all.sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** What each sealed, as each of the members is to be told: nothing of those who are gone. */
export const routed = (
  sent: ReadonlyMap<string, readonly (string | null)[]>,
  members: readonly Joined[],
  to: Joined,
): readonly (string | null)[] => {
  const at = members.indexOf(to);
  return members.map(({ id }) => sent.get(id)?.[at] ?? null);
};
