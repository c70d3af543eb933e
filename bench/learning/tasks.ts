import { fileURLToPath } from "node:url";
import type { MetricName } from "../../runtime/models/metrics/built-in.js";

/** A task that is trained here and in PyTorch. */
export interface LearningTask {
  readonly title: string;
  /** Data, clients and network, in sentences. */
  readonly about: string;
  readonly figure: MetricName;
  readonly rounds: number;
  readonly epochs: number;
  readonly rate: number;
  /** What is said to `fedflat simulate` beside all this. */
  readonly flags: readonly string[];
}

const described = (name: string) =>
  fileURLToPath(new URL(`../../../bench/learning/${name}`, import.meta.url));

export const TASKS = {
  autoencoder: {
    title: "An activity that nobody trained on",
    about:
      "UCI HAR, windows of 32 samples of nine channels; an autoencoder learns all activities but one, walking downstairs, each of 21 people being a client, and tells that one by its error, among nine other people.",
    figure: "auc",
    ...{ rounds: 10, epochs: 2, rate: 1 },
    flags: ["--model", described("autoencoder.json"), "--target", "input", "--split", "groups"],
  },
  forecast: {
    title: "What sensors say next",
    about:
      "UCI HAR, 64 samples of nine channels; an LSTM says all nine 0.1 s later. The 21 people of the training half are clients, the other nine the test.",
    figure: "r2",
    ...{ rounds: 15, epochs: 2, rate: 0.5 },
    flags: ["--model", "forecast", "--target", "y", "--split", "groups"],
  },
  characters: {
    title: "The next character",
    about:
      "The first 300,000 characters of Tiny Shakespeare, ten clients with a stretch each; one block of a transformer over windows of 64.",
    figure: "bits",
    ...{ rounds: 10, epochs: 1, rate: 0.2 },
    flags: ["--model", "characters", "--window", "64", "--split", "iid", "--clients", "10"],
  },
  "resnet-8": {
    title: "Small images",
    about:
      "The first 5,000 training images of CIFAR-100 and the first 2,000 of its test, ten clients with 500 images each; ResNet-8 with group norms.",
    figure: "accuracy",
    ...{ rounds: 10, epochs: 1, rate: 0.1 },
    flags: ["--model", "resnet-8", "--split", "iid", "--clients", "10"],
  },
} as const satisfies Readonly<Record<string, LearningTask>>;

export type TaskName = keyof typeof TASKS;

/** Flags of `fedflat simulate` that train a task on its data. */
export const flagsOf = (
  { rounds, epochs, rate, flags }: LearningTask,
  data: string,
  seed: number,
): readonly string[] => [
  ...["--data", data, ...flags, "--rounds", String(rounds), "--local-epochs", String(epochs)],
  ...["--learning-rate", String(rate), "--zeta", "0", "--evaluate-every", String(rounds)],
  ...["--seed", String(seed)],
];
