import { random } from "../../runtime/tensors/random.js";

/** Who takes part in a round. */
export interface Selection {
  /** Part of the eligible clients wanted in a round, in (0, 1]; not used where `count` is given. */
  readonly fraction: number;
  /** A fixed number of clients wanted in a round instead. */
  readonly count?: number;
  /** Fewest clients wanted in a round; with fewer eligible ones no round opens. */
  readonly minimum: number;
  /**
   * How many times the wanted number is asked, so that stragglers need not be waited for; 1 asks
   * just those wanted.
   */
  readonly overSelection: number;
  /**
   * Each client joins by its own coin of probability `fraction`, redrawn while nobody joins (the
   * paper's set-up).
   */
  readonly bernoulli: boolean;
  /** The most updates wanted in a round. */
  readonly most?: number;
}

/** Redraws after which a Bernoulli selection asks one client, so that a tiny fraction ends too. */
const REDRAWS = 1000;

/**
 * Draws a round's clients from the sorted ids of the eligible ones, with a generator seeded by
 * (seed, round, attempt): neither the order of arrival nor the clock has a say. Returns the ids
 * asked (sorted) and the number of updates wanted, or nothing where too few are eligible.
 */
export function select(
  ids: readonly string[],
  selection: Selection,
  seed: string,
  round: number,
  attempt: number,
): { readonly selected: readonly string[]; readonly goal: number } | undefined {
  const { fraction, count, minimum, overSelection, bernoulli, most = Infinity } = selection;
  if (ids.length < Math.max(1, minimum)) return undefined;
  const chance = random(seed, "selection", round, attempt);
  if (bernoulli) {
    let selected: string[] = [];
    for (let i = 0; i < REDRAWS && selected.length === 0; i++)
      selected = ids.filter(() => chance.next() < fraction * overSelection);
    if (selected.length === 0) selected = [ids[chance.integer(ids.length)]];
    return {
      selected,
      goal: Math.min(most, Math.max(1, Math.round(selected.length / overSelection))),
    };
  }
  const wanted = Math.max(1, minimum, count ?? Math.round(fraction * ids.length));
  const goal = Math.min(ids.length, wanted, most);
  const asked = Math.min(ids.length, Math.ceil(goal * overSelection));
  const order = chance.shuffle(Uint32Array.from(ids.keys())).subarray(0, asked);
  return { selected: [...order.sort()].map((i) => ids[i]), goal };
}
