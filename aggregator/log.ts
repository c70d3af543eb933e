/** The part of a pino logger that the aggregator uses. What is given must hold no secret. */
export interface Log {
  info(facts: object, sentence: string): void;
  warn(facts: object, sentence: string): void;
  error(facts: object, sentence: string): void;
}

export const silent: Log = { info() {}, warn() {}, error() {} };

/** How often a second a sentence may stand in a calm log. */
const MOST = 20;

/**
 * The same log for what anybody can cause: each sentence stands in it at most 20 times a second,
 * and the first of the next second says how many were left out (`leftOut`). So a flood does not
 * fill the disk with its log.
 */
export function calm(log: Log): Log {
  const seconds = new Map<string, { second: number; count: number }>();
  const calmly =
    (level: keyof Log) =>
    (facts: object, sentence: string): void => {
      const second = Math.floor(performance.now() / 1000);
      const last = seconds.get(sentence);
      if (last?.second === second) {
        if (++last.count <= MOST) log[level](facts, sentence);
        return;
      }
      seconds.set(sentence, { second, count: 1 });
      const leftOut = Math.max(0, (last?.count ?? 0) - MOST) || undefined;
      log[level]({ ...facts, leftOut }, sentence);
    };
  return {
    info: calmly("info"),
    warn: calmly("warn"),
    error: calmly("error"),
  };
}
