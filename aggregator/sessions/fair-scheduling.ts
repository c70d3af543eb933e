import type { WebSocket } from "ws";

/** Frames a second that a connection may send, and how many at once. */
const FRAMES = 2000;
const FRAMES_AT_ONCE = 200;
/** The most time for one kind of work in one turn of the event loop, in milliseconds. */
export const TURN = 5;

/**
 * Decides when frames are handled. One connection may send no more than a fixed rate, so that many
 * small frames from one client do not delay the others. All connections together get no more than
 * `TURN` ms of one turn of the event loop: a thousand of them may each have a frame at one time,
 * and those for which no time is left come first in the next turns. A connection with work left is
 * not read, so what it sends meanwhile stays with the sender.
 */
export class Pace {
  /** Connections with work left, in order, each once. */
  readonly #left = new Set<ConnectionPace>();
  #running = false;
  #began = 0;

  connection(webSocket: WebSocket): ConnectionPace {
    return new ConnectionPace(this, webSocket);
  }

  /** Whether this turn has time for a frame that comes now. */
  hasTime(now: number): boolean {
    if (!this.#running) this.#begin(now);
    return this.#left.size === 0 && now - this.#began <= TURN;
  }

  leave(pace: ConnectionPace): void {
    this.#left.add(pace);
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
    for (const pace of this.#left) {
      this.#left.delete(pace);
      if (pace.goOn()) this.#left.add(pace);
      // A connection that is read again receives what has come in the next tick; that counts as
      // part of this turn.
      await new Promise<void>((resolve) => process.nextTick(resolve));
      if (performance.now() - this.#began > TURN) return;
    }
  }
}

/** Handles the frames of one connection in their order, at once or in a later turn. */
export class ConnectionPace {
  readonly #pace: Pace;
  readonly #webSocket: WebSocket;
  /** Work left for later turns, in order. */
  #left: (() => void)[] | undefined;
  /** Frames taken lately, and when the last one was. */
  #debt = 0;
  #last = 0;
  /** Runs while the connection is not read because it has sent more than it may. */
  #rest: NodeJS.Timeout | undefined;

  constructor(pace: Pace, webSocket: WebSocket) {
    this.#pace = pace;
    this.#webSocket = webSocket;
  }

  /** Does what a frame asks for. */
  frame(work: () => void): void {
    const now = performance.now();
    this.#debt = Math.max(0, this.#debt - ((now - this.#last) / 1000) * FRAMES) + 1;
    this.#last = now;
    if (this.#debt > FRAMES_AT_ONCE) {
      this.#webSocket.pause();
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

  /** Does the work that follows the last frame. */
  end(work: () => void): void {
    clearTimeout(this.#rest);
    this.#do(work, performance.now());
  }

  /** Does the first piece of work left; false where it was the last one. */
  goOn(): boolean {
    const work = this.#left!.shift()!;
    if (this.#left!.length === 0) this.#left = undefined;
    this.#readAgain();
    work();
    return this.#left !== undefined;
  }

  #do(work: () => void, now: number): void {
    if (this.#left === undefined && this.#pace.hasTime(now)) return work();
    this.#webSocket.pause();
    this.#left ??= [];
    this.#left.push(work);
    this.#pace.leave(this);
  }

  #readAgain(): void {
    if (this.#left === undefined && this.#rest === undefined) this.#webSocket.resume();
  }
}

/**
 * Does the work for each item, in slices of `TURN` ms, so that the event loop stays free for
 * others.
 */
export async function inSlices<T>(items: Iterable<T>, work: (item: T) => void): Promise<void> {
  let began = performance.now();
  for (const item of items) {
    if (performance.now() - began > TURN) {
      await new Promise(setImmediate);
      began = performance.now();
    }
    work(item);
  }
}
