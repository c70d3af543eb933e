import { digest, toHex } from "../connection/hash.js";
import { utf8 } from "./keys.js";

/**
 * Who shares masks with whom. Up to 128 clients everybody with everybody (Bonawitz et al. 2017); a
 * ring beyond, on which each has k / 2 neighbours to either side (Bell et al. 2020).
 */

/** The fewest clients of a round: of three, two would open the third. */
export const LEAST_MEMBERS = 4;

/** The most clients of a complete graph: the lists of one round go into one message. */
export const MOST_COMPLETE = 128;

/** The most neighbours on a ring, for the same reason. */
export const MOST_NEIGHBOURS = 126;

/** A ring, on which t of the shares of a client's secrets give them back. */
export interface Ring {
  /** k, of each client. */
  readonly neighbours: number;
  /** t */
  readonly threshold: number;
}

/** More than half of those who hold shares: two stories would else get both secrets of a client. */
export const mostHolders = (neighbours: number): number => Math.floor((neighbours + 1) / 2) + 1;

/**
 * t of the complete graph. With fewer than a third of the n clients corrupt, 2 t is more than n and
 * the corrupt ones: nobody can get both secrets of one client by telling two stories.
 */
export const thresholdOf = (clients: number): number => Math.floor((2 * clients) / 3) + 1;

/**
 * The neighbours of each client, sorted.
 * @param k neighbours of each: even; at least n - 1 for the complete graph
 * @param seed of the ring, public
 */
export async function neighboursOf(
  ids: readonly string[],
  k: number,
  seed: string,
): Promise<ReadonlyMap<string, readonly string[]>> {
  const n = ids.length;
  if (k >= n - 1) return new Map(ids.map((id) => [id, ids.filter((other) => other !== id).sort()]));
  const placed = await Promise.all(
    ids.map(async (id) => ({
      id,
      at: toHex(await digest(utf8(`fedflat/1 secagg graph\n${seed}\n${id}`))),
    })),
  );
  const ring = placed.sort((a, b) => (a.at < b.at ? -1 : 1)).map(({ id }) => id);
  const steps = Array.from({ length: k / 2 }, (_, i) => i + 1).flatMap((i) => [i, n - i]);
  return new Map(
    ring.map((id, place) => [id, steps.map((step) => ring[(place + step) % n]).sort()]),
  );
}

/** Who holds shares of a client's secrets, in the order of their places: its neighbours and itself. */
export const holdersOf = (id: string, neighbours: readonly string[]): readonly string[] =>
  [...neighbours, id].sort();
