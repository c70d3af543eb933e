/**
 * Does all tasks, `lanes` at a time, in their order. A task that fails leaves the others going.
 * After `signal` aborts no further task begins; it resolves when those under way have ended.
 * @returns the tasks that failed, with their errors
 */
export async function inLanes<Task>(
  tasks: readonly Task[],
  lanes: number,
  signal: AbortSignal,
  work: (task: Task, lane: number) => Promise<void>,
): Promise<{ task: Task; error: unknown }[]> {
  const failed: { task: Task; error: unknown }[] = [];
  let next = 0;
  const lane = async (number: number): Promise<void> => {
    while (next < tasks.length && !signal.aborted) {
      const task = tasks[next++];
      try {
        await work(task, number);
      } catch (error) {
        if (!signal.aborted) failed.push({ task, error });
      }
    }
  };
  await Promise.all(Array.from({ length: lanes }, (_, i) => lane(i)));
  return failed;
}
