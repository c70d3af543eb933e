import { METRICS, type MetricName } from "../../runtime/models/metrics/built-in.js";

/** What one run gave. Shares, such as accuracies, are in percent. */
export interface RunResult {
  /** What its models are judged by; left out: accuracy. */
  readonly judgedBy?: MetricName;
  readonly rounds: readonly RoundMeasures[];
  /**
   * Mean accuracy of the final model over the tenth of the clients for whom it is worst, each
   * client's accuracy being that on the test data weighted by its own mix of classes.
   */
  readonly worstTenth?: number;
  /**
   * The same after the last round and all personalising, and for the worst tenth of the clients.
   */
  readonly own?: { readonly mean: number; readonly worstTenth: number };
  readonly flatness?: {
    /** Largest eigenvalues of the Hessian of the plain loss, descending. */
    readonly eigenvalues: readonly number[];
    readonly trace: number;
    /** Standard error of the trace; 0 where it is exact. */
    readonly traceError: number;
  };
  /** Model and update bytes that were transferred, both ways. */
  readonly bytes: number;
  /** The same of one client and round, by way; older results do not say. */
  readonly updateBytes?: number;
  readonly modelBytes?: number;
  readonly cpuSeconds: number;
  readonly seconds: number;
}

export interface RoundMeasures {
  readonly round: number;
  /**
   * What models are judged by on the test data: of the global model, of the mean of this round's
   * participants' weights, and of the mean of all clients' newest ones.
   */
  readonly model?: number;
  readonly sel?: number;
  readonly all?: number;
  /** On the clients' own hold-outs, with the models that they predict with: their mean. */
  readonly own?: number;
  readonly activationNorm?: number;
}

/** What is reported of a run as one number each. */
export const MEASURES = {
  sel: (run: RunResult) => last(run, ({ sel }) => sel),
  all: (run: RunResult) => last(run, ({ all }) => all),
  model: (run: RunResult) => last(run, ({ model }) => model),
  worstTenth: (run: RunResult) => run.worstTenth,
  activationNorm: (run: RunResult) => last(run, ({ activationNorm }) => activationNorm),
  eigenvalue: (run: RunResult) => run.flatness?.eigenvalues[0],
  trace: (run: RunResult) => run.flatness?.trace,
  traceError: (run: RunResult) => run.flatness?.traceError,
  bytes: (run: RunResult) => run.bytes,
  cpuSeconds: (run: RunResult) => run.cpuSeconds,
  seconds: (run: RunResult) => run.seconds,
  updateBytes: (run: RunResult) => run.updateBytes,
  modelBytes: (run: RunResult) => run.modelBytes,
  own: (run: RunResult) => run.own?.mean,
  ownWorstTenth: (run: RunResult) => run.own?.worstTenth,
} satisfies Record<string, (run: RunResult) => number | undefined>;

/** The value of the last round that has one. */
function last(
  { rounds }: RunResult,
  of: (round: RoundMeasures) => number | undefined,
): number | undefined {
  return rounds.map(of).findLast((value) => value !== undefined);
}

/** The first evaluated round whose `sel` reaches the target. */
export function roundsTo(target: number, { rounds, judgedBy }: RunResult): number | undefined {
  const sign = signOf(judgedBy ?? "accuracy");
  return rounds.find(({ sel }) => sel !== undefined && sign * sel >= sign * target)?.round;
}

/** 1 where more of a metric is better, -1 where less is. */
export const signOf = (name: MetricName): 1 | -1 => (METRICS[name].better === "higher" ? 1 : -1);

/** A value of a run's measure: in percent where it is a share. */
export const digitsOf = (name: MetricName): number => (METRICS[name].unit === "share" ? 2 : 4);

/** ` %` behind the values of a share. */
export const unitOf = (name: MetricName): string => (METRICS[name].unit === "share" ? " %" : "");

/** Mean and sample standard deviation; no deviation for fewer than two values. */
export interface Statistic {
  readonly mean: number;
  readonly deviation?: number;
  readonly count: number;
}

/** @returns nothing where there is no value */
export function statisticOf(values: readonly (number | undefined)[]): Statistic | undefined {
  const known = values.filter((value) => value !== undefined);
  const count = known.length;
  if (count === 0) return undefined;
  const mean = known.reduce((sum, value) => sum + value, 0) / count;
  if (count < 2) return { mean, count };
  const squares = known.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, count, deviation: Math.sqrt(squares / (count - 1)) };
}
