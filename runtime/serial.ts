/** Runs tasks one after the other, in the order in which they were given. */
interface Serial {
  /** Begins the task once those before it have ended, whether they failed or not. */
  run<T>(task: () => T | Promise<T>): Promise<T>;
  /** Resolves when every task given so far has ended. */
  idle(): Promise<void>;
}

export function serial(): Serial {
  let last: Promise<void> = Promise.resolve();
  return {
    run(task) {
      const done = last.then(task);
      last = done.then(
        () => {},
        () => {},
      );
      return done;
    },
    idle: () => last,
  };
}
