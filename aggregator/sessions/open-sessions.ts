import type { Socket } from "../../runtime/platform/platform.js";
import { inTurns } from "./fair-scheduling.js";
import { Session, type Origin, type SessionHost } from "./session.js";

/** About when clients of an aggregator that stops shall dial again, in milliseconds. */
const RESTART = 2000;

/** The lines that are open, be it that nobody has said yet who is at their end. */
export interface Lines {
  readonly count: number;
  add(line: Socket, origin: Origin, host: SessionHost): void;
  /** One has closed. */
  closed(session: Session): void;
  /** Whether this bearer belongs to one of them. */
  have(bearer: string): boolean;
  /** Looks after their life; to be called now and then. */
  beat(now: number, stood: number): void;
  /** When there is none, or so many milliseconds are over. */
  none(patience: number): Promise<void>;
  /** Closes them all: clients of a run that is not finished shall come back. */
  close(isFinished: boolean): void;
}

export function openLines(): Lines {
  const sessions = new Set<Session>();
  let allGone: (() => void) | undefined;
  return {
    get count() {
      return sessions.size;
    },
    add(line, origin, host) {
      sessions.add(new Session(line, origin, host));
    },
    closed(session) {
      sessions.delete(session);
      if (sessions.size === 0) allGone?.();
    },
    have(bearer) {
      for (const session of sessions) if (session.bearer === bearer) return true;
      return false;
    },
    beat: (now, stood) => void inTurns(sessions, (session) => session.beat(now, stood)),
    async none(patience) {
      if (sessions.size === 0) return;
      await new Promise<void>((resolve) => {
        const over = setTimeout(resolve, patience);
        allGone = () => {
          clearTimeout(over);
          resolve();
        };
      });
    },
    close(isFinished) {
      for (const session of sessions) {
        if (isFinished) session.close(1000, "finished");
        else {
          // Spread, so that a fleet does not come back at one moment.
          session.send({
            type: "wait",
            reason: "The aggregator restarts.",
            retryAfter: Math.round(RESTART * (0.5 + Math.random())),
          });
          session.close(1012, "restarting");
        }
      }
      sessions.clear();
    },
  };
}
