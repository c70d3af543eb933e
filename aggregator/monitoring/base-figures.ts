import * as v from "valibot";

const number = v.optional(v.number());
const evaluated = v.optional(
  v.object({
    accuracy: number,
    loss: v.number(),
    metrics: v.optional(v.record(v.string(), v.number())),
    topEigenvalue: number,
    spread: v.optional(v.object({ mean: v.number(), worstTenth: v.number() })),
  }),
);

/**
 * What is recorded of a committed round, as far as figures are read from it: its lines of
 * `rounds.jsonl`, `timings.jsonl` and `evaluations.jsonl`, under the names of those files.
 */
export const ROUND_SOURCES = {
  rounds: v.object({
    participants: v.pipe(v.array(v.string()), v.readonly()),
    samples: number,
    lossBefore: number,
    lossAfter: number,
    activationNorms: v.optional(v.pipe(v.array(v.number()), v.readonly())),
    epsilon: number,
    learningRate: number,
    staleness: number,
  }),
  timings: v.object({
    seconds: number,
    collectSeconds: number,
    trainSeconds: number,
    finishSeconds: number,
    commitSeconds: number,
    updateBytes: number,
  }),
  evaluations: v.object({ test: evaluated, federated: evaluated }),
};

/** Any of them may be missing: an evaluation comes later, a file may have been lost. */
export type RoundSources = {
  readonly [File in keyof typeof ROUND_SOURCES]?: v.InferOutput<(typeof ROUND_SOURCES)[File]>;
};

export interface RoundFigure {
  /** `share` is from 0 to 1, and "" a plain number. */
  readonly unit:
    "" | "clients" | "samples" | "rounds" | "seconds" | "bytes" | "share" | "bits" | "target units";
  readonly help: string;
  /** In TensorBoard: the group, and the name within it. */
  readonly scalar: string;
  /** In `/metrics`, where it is there; the labels tell it from others of the family. */
  readonly series?: {
    readonly family: Family;
    readonly labels: Readonly<Record<string, string>>;
  };
  /** A list has one number for each layer. */
  of(sources: RoundSources): number | readonly number[] | undefined;
}

/** A name in `/metrics`: a histogram of seconds, or the last value of anything else. */
export interface Family {
  readonly name: string;
  readonly help: string;
}

const DURATION: Family = {
  name: "fedflat_round_seconds",
  help: "Committed rounds, from their opening on",
};
const PHASES: Family = {
  name: "fedflat_round_phase_seconds",
  help: "Committed rounds by phase: collect (until the last update), finish (moving the model), commit (to disk)",
};
const ACCURACY: Family = {
  name: "fedflat_accuracy_ratio",
  help: "Accuracy of the last evaluated model, on the server's test data or the clients' hold-outs",
};
const LOSS: Family = {
  name: "fedflat_loss",
  help: "Mean loss of the last evaluated model",
};

const BY_CLIENT: Family = {
  name: "fedflat_by_client",
  help: "What models are judged by, on each client's hold-out by itself: mean of the clients, and of the worst tenth of them",
};

const EPSILON: Family = {
  name: "fedflat_epsilon",
  help: "Epsilon that a run with differential privacy has spent, at its delta",
};

/** The figures of a committed round, beside those of its metrics (round-figures.ts). */
export const BASE_FIGURES = {
  participants: {
    unit: "clients",
    help: "Clients whose updates are in the model",
    scalar: "clients/participants",
    of: ({ rounds }) => rounds?.participants.length,
  },
  samples: {
    unit: "samples",
    help: "Samples that their updates count with together",
    scalar: "clients/samples",
    of: ({ rounds }) => rounds?.samples,
  },
  trainSeconds: {
    unit: "seconds",
    help: "The longest local training, within collectSeconds",
    scalar: "clients/training seconds",
    of: ({ timings }) => timings?.trainSeconds,
  },
  testAccuracy: {
    unit: "share",
    help: "Accuracy on the server's test data",
    scalar: "accuracy/test",
    series: { family: ACCURACY, labels: { on: "test" } },
    of: ({ evaluations }) => evaluations?.test?.accuracy,
  },
  clientAccuracy: {
    unit: "share",
    help: "Accuracy on the clients' hold-outs",
    scalar: "accuracy/federated",
    series: { family: ACCURACY, labels: { on: "federated" } },
    of: ({ evaluations }) => evaluations?.federated?.accuracy,
  },
  clientMean: {
    unit: "",
    help: "What models are judged by, each client's hold-out by itself: mean of the clients",
    scalar: "by client/mean",
    series: { family: BY_CLIENT, labels: { of: "all" } },
    of: ({ evaluations }) => evaluations?.federated?.spread?.mean,
  },
  clientWorstTenth: {
    unit: "",
    help: "The same: mean of the worst tenth of the clients",
    scalar: "by client/worst tenth",
    series: { family: BY_CLIENT, labels: { of: "worst tenth" } },
    of: ({ evaluations }) => evaluations?.federated?.spread?.worstTenth,
  },
  testLoss: {
    unit: "",
    help: "Mean loss on the server's test data",
    scalar: "loss/test",
    series: { family: LOSS, labels: { on: "test" } },
    of: ({ evaluations }) => evaluations?.test?.loss,
  },
  clientLoss: {
    unit: "",
    help: "Mean loss on the clients' hold-outs",
    scalar: "loss/federated",
    series: { family: LOSS, labels: { on: "federated" } },
    of: ({ evaluations }) => evaluations?.federated?.loss,
  },
  lossBefore: {
    unit: "",
    help: "Mean loss on the participants' training data before their training",
    scalar: "loss/training before",
    of: ({ rounds }) => rounds?.lossBefore,
  },
  lossAfter: {
    unit: "",
    help: "Mean loss on the participants' training data after their training",
    scalar: "loss/training after",
    of: ({ rounds }) => rounds?.lossAfter,
  },
  activationNorms: {
    unit: "",
    help: "Mean activation norm by layer, as the participants measured it",
    scalar: "activation norm/layer",
    of: ({ rounds }) => rounds?.activationNorms,
  },
  epsilon: {
    unit: "",
    help: "Epsilon spent so far, of a run with differential privacy",
    scalar: "privacy/epsilon",
    series: { family: EPSILON, labels: {} },
    of: ({ rounds }) => rounds?.epsilon,
  },
  topEigenvalue: {
    unit: "",
    help: "Largest eigenvalue of the Hessian on the server's test data",
    scalar: "flatness/top eigenvalue, test",
    of: ({ evaluations }) => evaluations?.test?.topEigenvalue,
  },
  learningRate: {
    unit: "",
    help: "The clients' learning rate",
    scalar: "round/learning rate",
    of: ({ rounds }) => rounds?.learningRate,
  },
  staleness: {
    unit: "rounds",
    help: "Rounds committed since the model that an update was trained from, as a mean",
    scalar: "round/staleness",
    of: ({ rounds }) => rounds?.staleness,
  },
  seconds: {
    unit: "seconds",
    help: "From the round's opening until it was committed",
    scalar: "round/seconds",
    series: { family: DURATION, labels: {} },
    of: ({ timings }) => timings?.seconds,
  },
  collectSeconds: {
    unit: "seconds",
    help: "Until the last update was in",
    scalar: "round/seconds to collect",
    series: { family: PHASES, labels: { phase: "collect" } },
    of: ({ timings }) => timings?.collectSeconds,
  },
  finishSeconds: {
    unit: "seconds",
    help: "Moving the model",
    scalar: "round/seconds to finish",
    series: { family: PHASES, labels: { phase: "finish" } },
    of: ({ timings }) => timings?.finishSeconds,
  },
  commitSeconds: {
    unit: "seconds",
    help: "Writing to disk",
    scalar: "round/seconds to commit",
    series: { family: PHASES, labels: { phase: "commit" } },
    of: ({ timings }) => timings?.commitSeconds,
  },
  updateBytes: {
    unit: "bytes",
    help: "Bytes of the updates in the model",
    scalar: "round/update bytes",
    of: ({ timings }) => timings?.updateBytes,
  },
} satisfies Readonly<Record<string, RoundFigure>>;

type FigureName = keyof typeof BASE_FIGURES;

/** Figures by name; what was not measured, or is not known any more, is not there. */
export type RoundFigures = {
  readonly [Name in FigureName]?: NonNullable<ReturnType<(typeof BASE_FIGURES)[Name]["of"]>>;
};
