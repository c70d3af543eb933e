import { TURN } from "../sessions/fair-scheduling.js";
import type { Attempt, RoundEffect, RoundEvent, Rounds } from "../rounds/engine.js";

/** What an engine asks for besides its deadline. */
export type Asked = Exclude<RoundEffect, { readonly type: "deadline" }>;

/**
 * Runs an engine: takes its events in their order, has all that one asks for carried out before the
 * next one, and arms its deadline.
 */
export interface RoundDriver {
  /** Begins, or goes on; what was sent before is taken behind it. */
  start(committed: number, reopened?: Attempt): void;
  /** Tells the engine what happened. */
  send(event: RoundEvent): void;
  /** When the deadline passes, in the time of `performance.now()`. */
  readonly due: number;
  /** No time runs any more. */
  close(): void;
}

export function driveRounds(options: {
  readonly rounds: Rounds;
  readonly carryOut: (effect: Asked) => void;
  /** What the run waits for is another thing now; once for all that happens at a turn. */
  readonly waiting: (sentence: string) => void;
}): RoundDriver {
  const { rounds, carryOut, waiting } = options;
  const events: RoundEvent[] = [];
  /** What the last event asked for and is not carried out yet. */
  const effects: RoundEffect[] = [];
  let stepping = false;
  let turnDue: NodeJS.Immediate | undefined;
  let deadline: NodeJS.Timeout | undefined;
  let due = 0;
  let said = "";
  let sentenceDue: NodeJS.Immediate | undefined;

  function take(effect: RoundEffect): void {
    if (effect.type === "deadline") {
      clearTimeout(deadline);
      due = performance.now() + effect.after;
      deadline = setTimeout(() => send({ type: "deadline", number: effect.number }), effect.after);
      return;
    }
    if (effect.type === "finished" || effect.type === "stopped") clearTimeout(deadline);
    carryOut(effect);
  }

  /**
   * Carries out what the last event asked for, then takes the next one. What asks a thousand
   * clients takes turns with what they send meanwhile.
   */
  function goOn(): void {
    if (stepping || rounds.at === undefined) return;
    stepping = true;
    const began = performance.now();
    try {
      for (;;) {
        const effect = effects.shift();
        if (effect !== undefined) take(effect);
        else {
          const event = events.shift();
          if (event === undefined) break;
          effects.push(...rounds.step(event));
        }
        if (performance.now() - began > TURN) {
          turnDue ??= setImmediate(() => {
            turnDue = undefined;
            goOn();
          });
          break;
        }
      }
    } finally {
      stepping = false;
    }
    saySentence();
  }

  function saySentence(): void {
    sentenceDue ??= setImmediate(() => {
      sentenceDue = undefined;
      const sentence = rounds.waitsFor();
      if (sentence === said) return;
      said = sentence;
      waiting(sentence);
    });
  }

  function send(event: RoundEvent): void {
    events.push(event);
    goOn();
  }

  return {
    send,
    start(committed, reopened) {
      for (const effect of rounds.start(committed, reopened)) take(effect);
      goOn();
    },
    get due() {
      return due;
    },
    close() {
      clearTimeout(deadline);
      if (turnDue) clearImmediate(turnDue);
      if (sentenceDue) clearImmediate(sentenceDue);
    },
  };
}
