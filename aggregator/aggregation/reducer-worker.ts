import { parentPort, workerData } from "node:worker_threads";
import { serial } from "../../runtime/serial.js";
import { serveCalls, type Port } from "../../runtime/worker-rpc.js";
import { wasmArithmetic } from "./arithmetic.js";
import type { ReducerCalls } from "./reducer-in-worker.js";
import { openReducer, type Reducer, type ReducerSettings } from "./reducer.js";

// The worker of reducer-in-worker.ts: handles one call after the other, in the order in which they
// were made.

const host = parentPort!;
const port: Port = { post: (message, transfer = []) => host.postMessage(message, transfer) };
const starting = wasmArithmetic().then((arithmetic) =>
  openReducer(workerData as ReducerSettings, arithmetic),
);
const queue = serial();
const inTurn = <R>(work: (reducer: Reducer) => Promise<R>): Promise<R> =>
  queue.run(async () => work(await starting));

serveCalls<ReducerCalls>(
  port,
  {
    build: () => inTurn(async ({ build }) => build),
    load: (state) => inTurn((reducer) => reducer.load(...state)),
    openFold: (limits) => inTurn((reducer) => reducer.openFold(...limits)),
    check: (update) => inTurn((reducer) => reducer.check(...update)),
    fold: (update) => inTurn((reducer) => reducer.fold(...update)),
    drop: (key) => inTurn((reducer) => reducer.drop(...key)),
    takeFold: () => inTurn((reducer) => reducer.takeFold()),
    merge: (partial) => inTurn((reducer) => reducer.merge(...partial)),
    unmask: (job) => inTurn((reducer) => reducer.unmask(...job)),
    forms: (model) => inTurn((reducer) => reducer.forms(...model)),
    rest: () => inTurn((reducer) => reducer.rest()),
    finish: (model) => inTurn((reducer) => reducer.finish(...model)),
  },
  starting,
);
host.on("message", (message: unknown) => port.onMessage?.(message));
