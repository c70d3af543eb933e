import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { ModelError } from "../runtime/errors.js";
import type { MetricValues } from "../runtime/models/metrics/built-in.js";
import { putShare, takeShare, type Shares } from "../runtime/models/shares.js";
import { makeFolder } from "../runtime/platform/node-files.js";
import { serial } from "../runtime/serial.js";
import type { Vector } from "../runtime/tensors/layout.js";
import type { Trainer } from "../runtime/training/job.js";
import { writeWhole } from "./write.js";

const plus = (a: Vector, b: Vector): Vector => a.map((x, i) => x + b[i]);

/** How good a mean of weights is on the test data. */
export interface MeanFigures {
  /** From 0 to 1, where the task has such; the mean loss. */
  readonly accuracy?: number;
  readonly loss: number;
  /** Other metrics of the task, of another one than one class for each example. */
  readonly metrics?: Omit<MetricValues, "accuracy">;
}

/** What a line of `means.jsonl` says. */
export interface MeansLine {
  readonly round: number;
  /** Of the mean of the weights of this round's participants. */
  readonly sel: MeanFigures;
  /**
   * Of the mean of all clients' newest weights (the first global model where a client has none).
   */
  readonly all?: MeanFigures;
}

/**
 * The two means of clients' weights on which papers report, beside the global model,
 * from which they differ under all methods that add more to it. Only a simulation can know them: no
 * server sees a client's weights.
 */
export interface Means {
  /**
   * The trainer for one client: the same, but what it trains is remembered, in a file, for a run
   * may be resumed.
   */
  trainerOf(client: string): Trainer;
  /**
   * Evaluates `sel` of the round that has just been committed, and `all` if asked, which is for a
   * round that no other follows. One after the other, in the order of the calls.
   */
  evaluate(round: number, participants: readonly string[], all: boolean): Promise<MeansLine>;
  /** A round has been committed that is not evaluated. */
  forget(): void;
}

export function openMeans(options: {
  /** Where the newest weights of each client are kept. */
  readonly folder: string;
  readonly trainer: Trainer;
  /** Ids of all clients. */
  readonly clients: readonly string[];
  readonly shares: Pick<Shares, "shared" | "statistics">;
  /** The global model before the first round. */
  readonly initial: Vector;
  readonly test: (weights: Vector) => Promise<MeanFigures>;
}): Means {
  const { folder, trainer, clients, initial, test } = options;
  const { shared, statistics } = options.shares;
  const fileOf = (client: string) => join(folder, `${client}.f32`);
  const queue = serial();
  /**
   * What was trained since the last commit: the files may be a round ahead by the time a mean is
   * taken.
   */
  let fresh = new Map<string, Vector>();

  async function keep(client: string, weights: Vector): Promise<void> {
    makeFolder(folder);
    await writeWhole(fileOf(client), weights);
  }

  async function newestOf(client: string): Promise<Vector | undefined> {
    const bytes = await readFile(fileOf(client)).catch(() => undefined);
    if (bytes === undefined) return undefined;
    if (bytes.length !== 4 * initial.length)
      throw new ModelError(
        "layout",
        `"${fileOf(client)}" expected ${4 * initial.length} bytes, got ${bytes.length}`,
      );
    return new Float32Array(Uint8Array.from(bytes).buffer);
  }

  /** In the order of the ids, for the order decides the last bits. */
  async function meanOf(
    ids: readonly string[],
    trained: ReadonlyMap<string, Vector>,
  ): Promise<Vector> {
    const sum = new Float64Array(initial.length);
    for (const id of [...ids].sort()) {
      const weights = trained.get(id) ?? (await newestOf(id)) ?? initial;
      for (let i = 0; i < sum.length; i++) sum[i] += weights[i];
    }
    return Float32Array.from(sum, (value) => value / ids.length);
  }

  const measured = async (ids: readonly string[], trained: ReadonlyMap<string, Vector>) =>
    test(await meanOf(ids, trained));

  return {
    trainerOf: (client) => ({
      ...trainer,
      async train(job, options) {
        const trained = await trainer.train(job, options);
        if (job.isOwn) return trained;
        const weights = job.weights.slice();
        putShare(shared, plus(takeShare(shared, weights), trained.delta), weights);
        if (trained.statistics) putShare(statistics, trained.statistics, weights);
        await keep(client, weights);
        fresh.set(client, weights);
        return trained;
      },
    }),
    forget() {
      fresh = new Map();
    },
    evaluate(round, participants, all) {
      const trained = fresh;
      fresh = new Map();
      return queue.run(async () => ({
        round,
        sel: await measured(participants, trained),
        ...(all ? { all: await measured(clients, trained) } : {}),
      }));
    },
  };
}
