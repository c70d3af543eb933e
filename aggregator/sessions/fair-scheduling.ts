import type { WebSocket } from "ws";

/** Frames a second that a line may send, and how many at once. */
const FRAMES = 2000;
const FRAMES_AT_ONCE = 200;
/** How long one kind of work may go on in one turn of the event loop, in milliseconds. */
export const TURN = 5;

/**
 * How fast frames are taken. Of one line no faster than they may come: who sends many small ones
 * must not keep everybody else waiting. And of all lines together no longer in one turn of the
 * event loop than the rest can wait: a thousand lines may have a frame each at one time, and those
 * for which there is no time are left for the next turns, first come, first served. A line with
 * work left is not read: what it sends meanwhile stays with its sender.
 */
export class Pace {
  /** In order, each line once. */
  readonly #left = new Set<LinePace>();
  #running = false;
  #began = 0;

  line(line: WebSocket): LinePace {
    return new LinePace(this, line);
  }

  /** Whether there is time in this turn for one that comes now. */
  hasTime(now: number): boolean {
    if (!this.#running) this.#begin(now);
    return this.#left.size === 0 && now - this.#began <= TURN;
  }

  leave(line: LinePace): void {
    this.#left.add(line);
  }

  #begin(now: number): void {
    this.#running = true;
    this.#began = now;
    setImmediate(() => void this.#goOn());
  }

  async #goOn(): Promise<void> {
    this.#running = false;
    if (this.#left.size === 0) return;
    this.#begin(performance.now());
    for (const line of this.#left) {
      this.#left.delete(line);
      if (line.goOn()) this.#left.add(line);
      // A line that is read again takes in what has come, in the next tick: that is part of the
      // turn.
      await new Promise<void>((resolve) => process.nextTick(resolve));
      if (performance.now() - this.#began > TURN) return;
    }
  }
}

/** How the work of one line is done: in its order, at once or in a later turn. */
export class LinePace {
  readonly #pace: Pace;
  readonly #line: WebSocket;
  /** In order. */
  #left: (() => void)[] | undefined;
  /** Frames taken lately, and when the last one was. */
  #debt = 0;
  #last = 0;
  /** Runs while a line that has sent more than it may is not read. */
  #rest: NodeJS.Timeout | undefined;

  constructor(pace: Pace, line: WebSocket) {
    this.#pace = pace;
    this.#line = line;
  }

  /** Does what a frame asks for. */
  frame(work: () => void): void {
    const now = performance.now();
    this.#debt = Math.max(0, this.#debt - ((now - this.#last) / 1000) * FRAMES) + 1;
    this.#last = now;
    if (this.#debt > FRAMES_AT_ONCE) {
      this.#line.pause();
      clearTimeout(this.#rest);
      this.#rest = setTimeout(
        () => {
          this.#rest = undefined;
          this.#readAgain();
        },
        (1000 * this.#debt) / FRAMES,
      );
    }
    this.#do(work, now);
  }

  /** Does what comes behind the last frame. */
  end(work: () => void): void {
    clearTimeout(this.#rest);
    this.#do(work, performance.now());
  }

  /** Does the first piece of work that was left; false where that was all. */
  goOn(): boolean {
    const work = this.#left!.shift()!;
    if (this.#left!.length === 0) this.#left = undefined;
    this.#readAgain();
    work();
    return this.#left !== undefined;
  }

  #do(work: () => void, now: number): void {
    if (this.#left === undefined && this.#pace.hasTime(now)) return work();
    this.#line.pause();
    this.#left ??= [];
    this.#left.push(work);
    this.#pace.leave(this);
  }

  #readAgain(): void {
    if (this.#left === undefined && this.#rest === undefined) this.#line.resume();
  }
}

/** Does the work for each item, in turns with whatever else waits for the event loop. */
export async function inTurns<T>(items: Iterable<T>, work: (item: T) => void): Promise<void> {
  let began = performance.now();
  for (const item of items) {
    if (performance.now() - began > TURN) {
      await new Promise(setImmediate);
      began = performance.now();
    }
    work(item);
  }
}
