import type { ClientEvents } from "./options.js";

/** Tells a client's listeners of its events. */
export interface Emitter {
  /** Calls `listener` on each such event; the function returned ends that. */
  on<E extends keyof ClientEvents>(
    event: E,
    listener: (event: ClientEvents[E]) => void,
  ): () => void;
  emit<E extends keyof ClientEvents>(event: E, value: ClientEvents[E]): void;
  /** Whether anybody listens. */
  hears(event: keyof ClientEvents): boolean;
  /** Tells of a problem that did not end the client. */
  problem(error: unknown): void;
}

export function clientEvents(): Emitter {
  const listeners: { [E in keyof ClientEvents]: Set<(event: ClientEvents[E]) => unknown> } = {
    progress: new Set(),
    model: new Set(),
    assignment: new Set(),
    line: new Set(),
    notice: new Set(),
    wait: new Set(),
    problem: new Set(),
  };
  const emit: Emitter["emit"] = (event, value) => {
    // A listener's mistake, made now or after an await, must not end a round.
    for (const listener of listeners[event])
      (async () => listener(value))().catch((error: unknown) => {
        if (event !== "problem") problem(error);
      });
  };
  const problem = (error: unknown) => emit("problem", errorOf(error));
  return {
    on(event, listener) {
      listeners[event].add(listener);
      return () => void listeners[event].delete(listener);
    },
    emit,
    hears: (event) => listeners[event].size > 0,
    problem,
  };
}

export const errorOf = (error: unknown): Error =>
  error instanceof Error ? error : new Error(String(error));
