/** What clients do in place of training: statistics of their inputs, before the first round. */
export type Phase = "statistics";

/**
 * What clients of a secure round are asked for once they have trained, one after the other: keys,
 * shares of their secrets, the masked update, a signature over those who are in the sum, and the
 * shares by which the sum's masks come off.
 */
export const SECURE_PHASES = ["keys", "shares", "masked", "verify", "unmask"] as const;
export type SecurePhase = (typeof SECURE_PHASES)[number];

/**
 * Names a piece of a client's work: one attempt, from the model that was the newest
 * when the round opened.
 */
export interface Work {
  readonly round: number;
  readonly attempt: number;
  /** Absent where it is training. */
  readonly phase?: Phase;
}

export const sameWork = (a: Work, b: Work): boolean =>
  a.round === b.round && a.attempt === b.attempt && a.phase === b.phase;

export interface Member {
  /** `asked`: works on it. The others are ends. */
  readonly status: "asked" | "counted" | "late" | "lost" | "refused";
  readonly work: Work;
  /** Why it was lost or refused: the code, and the same in words. */
  readonly code?: string;
  readonly reason?: string;
  /** To ask it again would end in the same way. */
  readonly barred?: boolean;
}

type Counts = Readonly<Record<Member["status"], number>>;

/** How an older version differs from the one that came of it. */
interface Difference {
  readonly from: Members;
  readonly client: string;
  readonly before: Member | undefined;
}

/**
 * What became of those who were asked, by client: a value, of which `with` gives another and leaves
 * this one as it is. A round of a thousand clients has a thousand such steps, so none copies them
 * all: all versions share one map, which is the newest one's, and an older one knows how it differs
 * (Baker 1978, "Shallow Binding in Lisp 1.5"). Reading an older one copies the map.
 */
export class Members implements Iterable<[string, Member]> {
  #own: Map<string, Member> | undefined;
  #difference: Difference | undefined;
  readonly #counts: Counts;

  private constructor(own: Map<string, Member>, counts: Counts) {
    this.#own = own;
    this.#counts = counts;
  }

  static of(entries: Iterable<readonly [string, Member]> = []): Members {
    const own = new Map(entries);
    const counts = {
      asked: 0,
      counted: 0,
      late: 0,
      lost: 0,
      refused: 0,
    };
    for (const { status } of own.values()) counts[status]++;
    return new Members(own, counts);
  }

  get size(): number {
    return Object.values(this.#counts).reduce((a, b) => a + b, 0);
  }

  /** How many have this status. */
  count(status: Member["status"]): number {
    return this.#counts[status];
  }

  get(client: string): Member | undefined {
    return this.#map().get(client);
  }

  has(client: string): boolean {
    return this.#map().has(client);
  }

  /** In the order in which they came in. */
  [Symbol.iterator](): Iterator<[string, Member]> {
    return [...this.#map()][Symbol.iterator]();
  }

  values(): Iterator<Member> & Iterable<Member> {
    return [...this.#map().values()].values();
  }

  with(client: string, member: Member): Members {
    const map = this.#map();
    const before = map.get(client);
    const counts = { ...this.#counts };
    if (before !== undefined) counts[before.status]--;
    counts[member.status]++;
    map.set(client, member);
    const next = new Members(map, counts);
    this.#own = undefined;
    this.#difference = { from: next, client, before };
    return next;
  }

  without(leaves: (member: Member) => boolean): Members {
    return Members.of([...this].filter(([, member]) => !leaves(member)));
  }

  #map(): Map<string, Member> {
    if (this.#own !== undefined) return this.#own;
    const differences: Difference[] = [];
    let newest: Members = this;
    while (newest.#difference !== undefined) {
      differences.push(newest.#difference);
      newest = newest.#difference.from;
    }
    const own = new Map(newest.#own);
    for (const { client, before } of differences.reverse())
      if (before === undefined) own.delete(client);
      else own.set(client, before);
    this.#own = own;
    this.#difference = undefined;
    return own;
  }
}
