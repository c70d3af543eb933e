import type { Socket } from "../../runtime/platform/platform.js";
import { inSlices } from "./fair-scheduling.js";
import { Session, type Origin, type SessionContext } from "./session.js";

/** About how long clients wait before they dial a stopped aggregator again, in milliseconds. */
const RESTART = 2000;

/** All open sessions, including those still in the handshake. */
export interface Sessions {
  readonly count: number;
  add(connection: Socket, origin: Origin, context: SessionContext): void;
  /** A session has closed. */
  closed(session: Session): void;
  /** Whether this bearer belongs to an open session. */
  have(bearer: string): boolean;
  /** Checks that they are alive; call it now and then. */
  beat(now: number, stood: number): void;
  /** Resolves when none is open, or after this many milliseconds. */
  none(patience: number): Promise<void>;
  /** Closes them all; clients of an unfinished run are asked to come back. */
  close(isFinished: boolean): void;
}

export function openSessions(): Sessions {
  const sessions = new Set<Session>();
  let noneLeft: (() => void) | undefined;
  return {
    get count() {
      return sessions.size;
    },
    add(connection, origin, context) {
      sessions.add(new Session(connection, origin, context));
    },
    closed(session) {
      sessions.delete(session);
      if (sessions.size === 0) noneLeft?.();
    },
    have(bearer) {
      for (const session of sessions) if (session.bearer === bearer) return true;
      return false;
    },
    beat: (now, stood) => void inSlices(sessions, (session) => session.beat(now, stood)),
    async none(patience) {
      if (sessions.size === 0) return;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, patience);
        noneLeft = () => {
          clearTimeout(timer);
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
