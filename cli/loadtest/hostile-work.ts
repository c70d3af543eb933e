import type { UpdateForm } from "../../runtime/codecs/codec.js";
import type { Fleet } from "./light-fleet.js";
import { followed, wholeUpdate, type Update } from "./updates.js";

/** Honest updates of a round that hostile clients look at. */
const MOST_SEEN = 16;

/**
 * The work of clients of whom some are hostile: they know the honest updates that their fleet has
 * made for the round so far, and where there are none yet those of the round before.
 */
export function underAttack(
  work: Fleet["work"],
  formOf: (
    ...given: Parameters<Fleet["work"]> extends [number, infer A, infer M, ...unknown[]]
      ? [A, M]
      : never
  ) => UpdateForm,
): Fleet["work"] {
  const seen = new Map<number, Float32Array[]>();
  const hostile = new Set<number>();

  function see(round: number, numbers: Float32Array): void {
    const known = seen.get(round) ?? [];
    if (known.length < MOST_SEEN) known.push(numbers);
    seen.set(round, known);
    for (const old of seen.keys()) if (old < round - 1) seen.delete(old);
  }

  return async (client, assign, model, poisoned, attack) => {
    const done = await work(client, assign, model, poisoned, attack);
    const { round } = assign;
    const form = formOf(assign, model);
    if (attack.forge === undefined) {
      // A fleet without hostile clients keeps nothing.
      if (hostile.size > 0 && !poisoned) see(round, numbersOf(done.update, form));
      return done;
    }
    hostile.add(client);
    const sent = bytesOf(done.update);
    const own = form.decode(sent.subarray(0, form.bytes));
    const [[first, delta], ...others] = Object.entries(own);
    const honest = seen.get(round) ?? seen.get(round - 1) ?? [delta];
    const { strength } = attack;
    const forged = attack.forge({ honest, hostile: hostile.size, strength });
    const update = form.encode({ [first]: forged, ...Object.fromEntries(others) });
    // What lies behind the vectors, such as running values, stays as it is.
    const behind = sent.subarray(form.bytes);
    return { ...done, update: followed(wholeUpdate(update), behind) };
  };
}

const bytesOf = ({ source, bytes }: Update): Uint8Array => Uint8Array.from(source(0, bytes));

/** The delta of an update, in memory of its own. */
const numbersOf = (update: Update, form: UpdateForm): Float32Array =>
  Object.values(form.decode(bytesOf(update).subarray(0, form.bytes)))[0];
