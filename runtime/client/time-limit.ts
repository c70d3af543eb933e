import { FedflatError } from "../errors.js";
import { Declined } from "./declined.js";

/** The longest local round that the device's owner allows. */
export interface TimeLimit {
  /** @throws Declined `seconds` where so many sample passes took longer before */
  check(passes: number): void;
  /** Aborts the training once it takes longer, beside the seconds it took already. */
  start(passes: number, spent: number, training: AbortController): () => void;
}

export function timeLimitOf(seconds = Infinity): TimeLimit {
  let tooMany = Infinity;
  return {
    check(passes) {
      if (passes < tooMany) return;
      throw new Declined(
        "seconds",
        `"seconds" expected at most ${seconds}, which ${passes} sample passes took longer than before`,
      );
    },
    start(passes, spent, training) {
      if (seconds === Infinity) return () => {};
      const late = () => {
        tooMany = passes;
        training.abort(
          new FedflatError("seconds", `"training" expected at most ${seconds} s, got more`),
        );
      };
      const timer = setTimeout(late, 1000 * (seconds - spent));
      return () => clearTimeout(timer);
    },
  };
}
