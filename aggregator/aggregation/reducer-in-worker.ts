import { Worker } from "node:worker_threads";
import { FedflatError } from "../../runtime/errors.js";
import { callsTo, type Port } from "../../runtime/worker-rpc.js";
import type { Reducer, ReducerSettings } from "./reducer.js";

/** The calls to a reducer's worker: its methods, and what it folds with. */
export type ReducerCalls = {
  readonly [M in Exclude<keyof Reducer, "build" | "close">]: {
    readonly takes: Parameters<Reducer[M]>;
    readonly gives: Awaited<ReturnType<Reducer[M]>>;
  };
} & { readonly build: { readonly takes: []; readonly gives: string } };

/**
 * A reducer whose work is done in a worker. Calls are answered in order.
 * @throws FedflatError `desk` from every call once the worker has ended.
 */
export async function openReducerInWorker(settings: ReducerSettings): Promise<Reducer> {
  const worker = new Worker(new URL("./reducer-worker.js", import.meta.url), {
    workerData: settings,
  });
  const port: Port = {
    post: (message, transfer = []) => worker.postMessage(message, transfer),
  };
  const { call, end } = callsTo<ReducerCalls>(port, {
    errorFrom: ({ message }) => new FedflatError("desk", message),
  });
  const ended = (why: string) => end(new FedflatError("desk", `the folding worker ended: ${why}`));
  worker.on("message", (message) => port.onMessage?.(message));
  worker.on("error", (error) => ended(error.message));
  worker.on("exit", (code) => ended(`exit code ${code}`));

  return {
    build: await call("build", []).result,
    load: (...state) => call("load", state).result,
    openFold: (...limits) => call("openFold", limits).result,
    check: (...update) => call("check", update).result,
    fold: (...update) => call("fold", update).result,
    drop: (...key) => call("drop", key).result,
    takeFold: () => call("takeFold", []).result,
    merge: (...partial) => call("merge", partial).result,
    unmask: (...job) => call("unmask", job).result,
    forms: async (...model) =>
      settings.modelCodec === "float32" ? {} : call("forms", model).result,
    rest: () => call("rest", []).result,
    finish: (model, population, privacy) =>
      call("finish", [model, population, privacy], { transfer: [model.buffer] }).result,
    async close() {
      await worker.terminate();
    },
  };
}
