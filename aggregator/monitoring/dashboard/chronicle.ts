import type { LogEntry, PageUpdate, RoundPoint } from "./messages.js";
import { ROUNDS_KEPT } from "./round-points.js";

const LOG_KEPT = 500;
/** Events of one kind within so long are one entry of the log, in milliseconds. */
const TOGETHER = 5_000;

/** The figures of the rounds and the log of events, each with the revision that it came with. */
export interface Chronicle {
  /** Counts all changes. */
  readonly revision: number;
  /** Adds what is known of a round. */
  learn(round: number, figures: Omit<RoundPoint, "round">): void;
  /** Puts the rounds of the time before this process in front. */
  prepend(points: readonly RoundPoint[]): void;
  /** Adds to the log; events of one kind become one entry, where `many` says how. */
  enter(
    level: LogEntry["level"],
    text: string,
    kind?: string,
    many?: (count: number) => string,
  ): void;
  /** What is newer than a revision. */
  since(revision: number): Pick<PageUpdate, "rounds" | "log">;
}

type Versioned<T> = T & { readonly revision: number };

export function openChronicle(changed: () => void): Chronicle {
  const rounds = new Map<number, Versioned<RoundPoint>>();
  let log: Versioned<LogEntry>[] = [];
  let entries = 0;
  /** The kind of the last entry, and how often it happened. */
  let last = { kind: "", count: 0 };
  let revision = 1;

  function learn(round: number, figures: Omit<RoundPoint, "round">): void {
    const known = rounds.get(round);
    rounds.set(round, { ...known, ...figures, round, revision: ++revision });
    for (const oldest of rounds.keys()) if (rounds.size > ROUNDS_KEPT) rounds.delete(oldest);
    changed();
  }

  function enter(
    level: LogEntry["level"],
    text: string,
    kind = "",
    many?: (count: number) => string,
  ): void {
    const time = Date.now();
    const latest = log.at(-1);
    const again =
      many !== undefined &&
      latest !== undefined &&
      last.kind === kind &&
      time - latest.time < TOGETHER;
    if (again) {
      last.count++;
      log[log.length - 1] = {
        ...latest,
        text: many(last.count),
        revision: ++revision,
      };
    } else {
      last = { kind, count: 1 };
      log.push({ number: ++entries, time, level, text, revision: ++revision });
      if (log.length > LOG_KEPT) log = log.slice(-LOG_KEPT);
    }
    changed();
  }

  const since = (revision: number): Pick<PageUpdate, "rounds" | "log"> => {
    const newer = <T>(all: Iterable<Versioned<T>>): T[] => {
      const found: T[] = [];
      for (const { revision: own, ...one } of all) if (own > revision) found.push(one as T);
      return found;
    };
    const [points, news] = [newer<RoundPoint>(rounds.values()), newer<LogEntry>(log)];
    return {
      ...(points.length > 0 && { rounds: points }),
      ...(news.length > 0 && { log: news }),
    };
  };

  return {
    learn,
    enter,
    since,
    get revision() {
      return revision;
    },
    prepend(points) {
      const recent = [...rounds.values()];
      rounds.clear();
      for (const { round, ...figures } of points) learn(round, figures);
      for (const { round, revision: _, ...figures } of recent) learn(round, figures);
    },
  };
}
