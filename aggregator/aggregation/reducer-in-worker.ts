import { Worker } from "node:worker_threads";
import { FedflatError } from "../../runtime/errors.js";
import type { Reducer, ReducerSettings } from "./reducer.js";

type Method = Exclude<keyof Reducer, "build">;

export interface ReducerCall {
  readonly id: number;
  readonly method: Method;
  readonly args: readonly unknown[];
}

export interface ReducerAnswer {
  readonly id: number;
  result?: unknown;
  error?: string;
}

/**
 * A reducer whose work is done in a worker. Calls are answered in order.
 * @throws FedflatError `desk` from every call once the worker has ended.
 */
export async function openReducerInWorker(settings: ReducerSettings): Promise<Reducer> {
  const worker = new Worker(new URL("./reducer-worker.js", import.meta.url), {
    workerData: settings,
  });
  const waiting = new Map<
    number,
    { resolve: (value: never) => void; reject: (error: Error) => void }
  >();
  let calls = 0;
  let ended: FedflatError | undefined;

  const end = (why: string) => {
    ended ??= new FedflatError("desk", `the folding worker ended: ${why}`);
    for (const { reject } of waiting.values()) reject(ended);
    waiting.clear();
  };
  worker.on("error", (error) => end(error.message));
  worker.on("exit", (code) => end(`exit code ${code}`));
  worker.on("message", ({ id, result, error }: ReducerAnswer) => {
    const call = waiting.get(id);
    waiting.delete(id);
    if (error !== undefined) call?.reject(new FedflatError("desk", error));
    else call?.resolve(result as never);
  });

  const answerTo = <T>(id: number): Promise<T> =>
    new Promise((resolve, reject) => {
      if (ended) reject(ended);
      else waiting.set(id, { resolve, reject });
    });

  function call<M extends Method>(
    method: M,
    args: Parameters<Reducer[M]>,
    given: ArrayBuffer[] = [],
  ): ReturnType<Reducer[M]> {
    const id = ++calls;
    const answer = answerTo(id);
    if (!ended) worker.postMessage({ id, method, args } as ReducerCall, given);
    return answer as ReturnType<Reducer[M]>;
  }

  const build = await answerTo<string>(0);
  return {
    build,
    load: (state) => call("load", [state]),
    openFold: (limits) => call("openFold", [limits]),
    check: (key, sha256, bytes) => call("check", [key, sha256, bytes]),
    fold: (...update) => call("fold", update),
    drop: (key) => call("drop", [key]),
    rest: () => call("rest", []),
    finish: (model, population) => call("finish", [model, population], [model.buffer]),
    async close() {
      await worker.terminate();
    },
  };
}
