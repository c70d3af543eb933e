import { printable } from "../runtime/protocol/printable.js";

/** The part of a pino logger that the aggregator uses. What is given must hold no secret. */
export interface Log {
  info(facts: object, sentence: string): void;
  warn(facts: object, sentence: string): void;
  error(facts: object, sentence: string): void;
}

export const silent: Log = { info() {}, warn() {}, error() {} };

/** A log for what others can cause. */
export interface OthersLog extends Log {
  info(facts: object, sentence: string, words?: string | null): void;
  warn(facts: object, sentence: string, words?: string | null): void;
  error(facts: object, sentence: string, words?: string | null): void;
}

/** How often a second a sentence may stand in the log of others. */
const MOST = 20;
/** Characters of a text of others that stand in it. */
const LONGEST = 256;
/** Bytes a second, and at once: 24 hours of the worst flood take 87 MB. */
const RATE = 1000;
const AT_ONCE = 1_000_000;
/** Bytes of a line beside its facts and its sentence: level, time, process, machine. */
const FRAME = 150;

/**
 * The same log for what others can cause, strangers and members: a sentence of ours stands in it at
 * most 20 times a second, and all together take at most 1,000 bytes a second after the first
 * million. The next line of a sentence that was left out says how often (`leftOut`). Texts of
 * others, among the facts or as the words behind the sentence, are cut and hide nothing. So a flood
 * does not fill the disk with its log, nor push out of it what a day before it held.
 */
export function calm(log: Log): OthersLog {
  const sentences = new Map<string, { second: number; count: number; leftOut: number }>();
  let room = AT_ONCE;
  let last = performance.now();
  const calmly =
    (level: keyof Log) =>
    (facts: object, sentence: string, words?: string | null): void => {
      const now = performance.now();
      room = Math.min(AT_ONCE, room + (RATE * (now - last)) / 1000);
      last = now;
      const second = Math.floor(now / 1000);
      let own = sentences.get(sentence);
      if (own === undefined) sentences.set(sentence, (own = { second, count: 0, leftOut: 0 }));
      if (own.second !== second) Object.assign(own, { second, count: 0 });
      if (own.count >= MOST) return void own.leftOut++;
      const shown = { ...plain(facts), leftOut: own.leftOut || undefined };
      const text = words ? `${sentence}: ${cut(words)}` : sentence;
      const bytes = FRAME + Buffer.byteLength(JSON.stringify(shown) + text);
      if (bytes > room) return void own.leftOut++;
      own.count++;
      own.leftOut = 0;
      room -= bytes;
      log[level](shown, text);
    };
  return {
    info: calmly("info"),
    warn: calmly("warn"),
    error: calmly("error"),
  };
}

/** Facts whose texts are of others, cut to what a log can take. */
function plain(facts: object): object {
  return Object.fromEntries(
    Object.entries(facts).map(([name, value]: [string, unknown]) => [
      name,
      typeof value === "string" ? cut(value) : value,
    ]),
  );
}

const cut = (text: string): string =>
  printable(text.length > LONGEST ? `${text.slice(0, LONGEST)}...` : text);
