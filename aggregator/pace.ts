import type { WebSocket } from "ws";

/** Frames a second that a line may send, and how many at once. */
const FRAMES = 2000;
const FRAMES_AT_ONCE = 200;
/** How long one kind of work may go on in one turn of the event loop, in milliseconds. */
export const TURN = 10;
/** Lines that are read again together. */
const TOGETHER = 16;

/**
 * How fast lines are read. No line faster than its frames may come: who sends many small ones must not keep everybody else
 * waiting. And all lines together no longer in one turn of the event loop than the rest can wait: those for which there was no
 * time are read in the next turns, first come, first served. What is not read stays with its sender.
 * @returns for a line, the function to be called for each of its frames.
 */
export function openPace(): (line: WebSocket) => () => void {
  /** Lines left for a later turn, in order. */
  const left: (() => void)[] = [];
  let running = false;
  let began = 0;

  function begin(now: number): void {
    running = true;
    began = now;
    setImmediate(end);
  }

  function end(): void {
    running = false;
    for (const readAgain of left.splice(0, TOGETHER)) readAgain();
    if (left.length > 0) begin(performance.now());
  }

  return (line) => {
    let debt = 0;
    let last = 0;
    let isLeft = false;
    let rest: NodeJS.Timeout | undefined;
    line.once("close", () => clearTimeout(rest));
    const readAgain = () => {
      if (!isLeft && rest === undefined) line.resume();
    };
    return () => {
      const now = performance.now();
      debt = Math.max(0, debt - ((now - last) / 1000) * FRAMES) + 1;
      last = now;
      if (debt > FRAMES_AT_ONCE) {
        line.pause();
        clearTimeout(rest);
        rest = setTimeout(
          () => {
            rest = undefined;
            readAgain();
          },
          (1000 * debt) / FRAMES,
        );
      }
      if (!running) begin(now);
      else if (now - began > TURN && !isLeft) {
        isLeft = true;
        line.pause();
        left.push(() => {
          isLeft = false;
          readAgain();
        });
      }
    };
  };
}

/** Does the work for each item, in turns with whatever else waits for the event loop. */
export async function inTurns<T>(
  items: Iterable<T>,
  work: (item: T) => void,
): Promise<void> {
  let began = performance.now();
  for (const item of items) {
    if (performance.now() - began > TURN) {
      await new Promise(setImmediate);
      began = performance.now();
    }
    work(item);
  }
}
