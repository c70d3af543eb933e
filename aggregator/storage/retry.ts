import type { Log } from "../log.js";
import type { RoundEvent } from "../rounds/engine.js";
import { isFull } from "./disk.js";

/**
 * Does work that must reach the disk: repeats it while the disk is full, and ends the run if it
 * fails.
 */
export type WithRetry = (work: () => Promise<void>) => Promise<void>;

export const retryWhileFull =
  ({
    log,
    pause,
    send,
    isClosing,
  }: {
    readonly log: Log;
    /** Milliseconds to wait while the disk is full. */
    readonly pause: number;
    readonly send: (event: RoundEvent) => void;
    readonly isClosing: () => boolean;
  }): WithRetry =>
  async (work) => {
    for (;;)
      try {
        return await work();
      } catch (error) {
        if (!isFull(error) || isClosing()) {
          log.error({ err: error }, "the run cannot continue");
          return send(brokenBy(error));
        }
        log.error({ err: error }, "the disk is full: rounds pause");
        send({ type: "paused", reason: reasonOf(error) });
        await new Promise((resolve) => setTimeout(resolve, pause));
      }
  };

/** The event that ends the run because of this error. */
export const brokenBy = (error: unknown): RoundEvent => ({
  type: "broken",
  reason: reasonOf(error),
});

const reasonOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);
