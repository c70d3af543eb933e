import { ConfigError, DataError, FedflatError, ModelError } from "./errors.js";

// Calls from a thread to its worker. A table of types says what each method takes and gives; while
// a call is under way, the worker may send reports about it, and the thread orders.

/** One end of the port between a thread and its worker. */
export interface Port {
  post(message: unknown, transfer?: readonly ArrayBuffer[]): void;
  onMessage?: (message: unknown) => void;
}

/** Of each method: what it takes and what it gives. */
type CallTable<T> = {
  readonly [M in keyof T]: { readonly takes: unknown; readonly gives: unknown };
};

/** A worker's methods. */
export type Methods<T extends CallTable<T>, Report = never, Order = never> = {
  readonly [M in keyof T]: (
    takes: T[M]["takes"],
    call: CallUnderWay<Report, Order>,
  ) => Promise<T[M]["gives"]>;
};

/** What a method can do before it answers. */
export interface CallUnderWay<Report, Order> {
  report(report: Report): void;
  onOrder?: (order: Order) => void;
}

/** One call with its method. */
type Call<T extends CallTable<T>, M extends keyof T = keyof T> = {
  readonly [P in M]: { readonly method: P; readonly takes: T[P]["takes"] };
}[M];

type ToWorker<T extends CallTable<T>, Order> =
  | { readonly type: "call"; readonly id: number; readonly call: Call<T> }
  | { readonly type: "order"; readonly id: number; readonly order: Order };

type FromWorker<Report> =
  /** It has started: from now on what fails is a call. */
  | { readonly type: "ready" }
  | { readonly type: "report"; readonly id: number; readonly report: Report }
  | { readonly type: "done"; readonly id: number; readonly result: unknown }
  | {
      readonly type: "error";
      /** Absent where the worker could not start. */
      readonly id?: number;
      readonly error: PostedError;
      /** The worker's memory may be damaged: nothing it gives can be trusted. */
      readonly fatal: boolean;
    };

/** An error as it is posted; without a code where another library threw it. */
export interface PostedError {
  readonly name: string;
  /** Its class: the place in `KINDS`, or -1. */
  readonly kind: number;
  readonly code?: string;
  readonly message: string;
}

/**
 * Answers the calls that come through the port. What results and reports hold of memory goes to the
 * other end with them. Says that it is ready once `started` resolves; any other error than a
 * FedflatError (a trap, no memory left) counts as fatal.
 */
export function serveCalls<T extends CallTable<T>, Report = never, Order = never>(
  port: Port,
  methods: Methods<T, Report, Order>,
  started: Promise<unknown>,
): void {
  const underWay = new Map<number, CallUnderWay<Report, Order>>();
  const tell = (message: FromWorker<Report>, given?: unknown) =>
    port.post(message, buffersOf(given));
  started.then(
    () => tell({ type: "ready" }),
    (error: unknown) => tell({ type: "error", error: postedError(error), fatal: true }),
  );

  async function perform<M extends keyof T>(id: number, { method, takes }: Call<T, M>) {
    const call: CallUnderWay<Report, Order> = {
      report: (report) => tell({ type: "report", id, report }, report),
    };
    underWay.set(id, call);
    try {
      const result = await methods[method](takes, call);
      tell({ type: "done", id, result }, result);
    } catch (error) {
      const fatal = !(error instanceof FedflatError);
      tell({ type: "error", id, error: postedError(error), fatal });
    } finally {
      underWay.delete(id);
    }
  }

  port.onMessage = (received) => {
    // Only `callsTo` posts to this port.
    const message = received as ToWorker<T, Order>;
    if (message.type === "call") void perform(message.id, message.call);
    else underWay.get(message.id)?.onOrder?.(message.order);
  };
}

/** The thread's end: makes calls, and hears of them. */
export interface Calls<T extends CallTable<T>, Report = never, Order = never> {
  call<M extends keyof T>(
    method: M,
    takes: T[M]["takes"],
    options?: {
      readonly transfer?: readonly ArrayBuffer[];
      readonly onReport?: (report: Report) => void;
    },
  ): { readonly result: Promise<T[M]["gives"]>; order(order: Order): void };
  /** The worker is gone: all calls reject with this, now and later. */
  end(error: Error): void;
}

export function callsTo<T extends CallTable<T>, Report = never, Order = never>(
  port: Port,
  on: {
    ready?(): void;
    /** Told of a fatal error in place of the call that failed. */
    fatal?(error: PostedError, starting: boolean): void;
    /** What a call rejects with. */
    errorFrom(error: PostedError): Error;
  },
): Calls<T, Report, Order> {
  const waiting = new Map<
    number,
    {
      // The worker answers each call with what its method gives.
      resolve(result: never): void;
      reject(error: Error): void;
      onReport?: (report: Report) => void;
    }
  >();
  let calls = 0;
  let ended: Error | undefined;

  port.onMessage = (received) => {
    // Only `serveCalls` posts to this port.
    const message = received as FromWorker<Report>;
    if (message.type === "ready") return on.ready?.();
    if (message.type === "error" && message.fatal && on.fatal)
      return on.fatal(message.error, message.id === undefined);
    const call = waiting.get(message.id!);
    if (message.type === "report") return call?.onReport?.(message.report);
    waiting.delete(message.id!);
    if (message.type === "done") call?.resolve(message.result as never);
    else call?.reject(on.errorFrom(message.error));
  };

  return {
    call(method, takes, { transfer, onReport } = {}) {
      const id = ++calls;
      const post = (message: ToWorker<T, Order>, transfer?: readonly ArrayBuffer[]) => {
        if (ended === undefined) port.post(message, transfer);
      };
      return {
        result: new Promise((resolve, reject) => {
          if (ended !== undefined) return reject(ended);
          waiting.set(id, { resolve, reject, onReport });
          post({ type: "call", id, call: { method, takes } }, transfer);
        }),
        order: (order) => post({ type: "order", id, order }),
      };
    },
    end(error) {
      ended ??= error;
      for (const { reject } of waiting.values()) reject(ended);
      waiting.clear();
    },
  };
}

type Vector = Float32Array | Float64Array | Uint8Array | Uint32Array;
const isVector = (value: unknown): value is Vector => ArrayBuffer.isView(value);

/**
 * The same message with copies of its vectors in their place, and what to transfer with it: one
 * copy is made where posting alone would make two. A vector that stands in two places is copied
 * once; shared memory stays where it is.
 */
export function movable<T>(message: T): {
  readonly message: T;
  readonly transfer: ArrayBuffer[];
} {
  const copies = new Map<Vector, Vector>();
  const moved = (value: unknown): unknown => {
    if (isVector(value)) {
      if (!(value.buffer instanceof ArrayBuffer)) return value;
      const copy = copies.get(value) ?? value.slice();
      copies.set(value, copy);
      return copy;
    }
    if (Array.isArray(value)) return value.map(moved);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, moved(inner)]));
  };
  const copied = moved(message) as T;
  return { message: copied, transfer: buffersOf([...copies.values()]) };
}

/** The memory of every vector in a value, shared memory left out. */
export function buffersOf(value: unknown): ArrayBuffer[] {
  if (isVector(value)) return value.buffer instanceof ArrayBuffer ? [value.buffer] : [];
  if (typeof value !== "object" || value === null) return [];
  return [...new Set(Object.values(value).flatMap(buffersOf))];
}

/** Classes that an error keeps on its way: told by place, since a bundle has other names for them. */
const KINDS = [ModelError, DataError, ConfigError];

export function postedError(error: unknown): PostedError {
  const { name, message } = error instanceof Error ? error : new Error(String(error));
  const kind = KINDS.findIndex((Kind) => error instanceof Kind);
  return { name, kind, message, code: error instanceof FedflatError ? error.code : undefined };
}

/** The error that was posted, of its own class again; any other error becomes a `failed`. */
export function errorFrom(
  { name, kind, code, message }: PostedError,
  expected = "finish its job",
): FedflatError {
  if (code === undefined)
    return new FedflatError("failed", `"worker" expected to ${expected}, got ${name}: ${message}`);
  return new (KINDS[kind] ?? FedflatError)(code, message);
}
