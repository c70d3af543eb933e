import { TURN } from "../sessions/fair-scheduling.js";
import type { Attempt, RoundEffect, RoundEvent, Rounds } from "../rounds/engine.js";

/** Every effect except setting the timer. */
export type Asked = Exclude<RoundEffect, { readonly type: "deadline" }>;

/**
 * Runs an engine: hands it events in their order, carries out all effects of one before the next,
 * and arms its deadline.
 */
export interface RoundDriver {
  /** Starts or resumes the rounds; events sent before are handled afterwards. */
  start(committed: number, reopened?: Attempt): void;
  /** Tells the engine what happened. */
  send(event: RoundEvent): void;
  /** When the deadline passes, in the time of `performance.now()`. */
  readonly due: number;
  /** Clears all timers. */
  close(): void;
}

export function driveRounds(options: {
  readonly rounds: Rounds;
  readonly carryOut: (effect: Asked) => void;
  /** The run waits for something else; called once for everything in one turn. */
  readonly waiting: (sentence: string) => void;
}): RoundDriver {
  const { rounds, carryOut, waiting } = options;
  const events: RoundEvent[] = [];
  /** Effects of the last event that are not carried out yet. */
  const effects: RoundEffect[] = [];
  let stepping = false;
  let turnDue: NodeJS.Immediate | undefined;
  let deadline: NodeJS.Timeout | undefined;
  let due = 0;
  let shown = "";
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
   * Carries out the effects of the last event, then takes the next one. An event with a thousand
   * effects gives way to the messages that come meanwhile.
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
    showSentence();
  }

  function showSentence(): void {
    sentenceDue ??= setImmediate(() => {
      sentenceDue = undefined;
      const sentence = rounds.waitsFor();
      if (sentence === shown) return;
      shown = sentence;
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
