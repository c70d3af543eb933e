/** Resolves once the condition holds, which is asked every 10 ms: for what tells nobody of itself. */
export async function until(condition: () => unknown): Promise<void> {
  while (!(await condition())) await slowly(10);
}

/** Takes that long, as a slow device or a slow disk does. Not for waiting until something is done. */
export const slowly = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));
