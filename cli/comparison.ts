import { appendFile, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { RoundRecord } from "../aggregator/run/aggregator.js";
import { resultOf } from "../aggregator/run/evaluation-record.js";
import type { Dataset, Normalisation, Part } from "../runtime/data/dataset.js";
import { initialWeights } from "../runtime/models/initial.js";
import { metricReader } from "../runtime/models/metrics/built-in.js";
import { loadModel, type ModelCard } from "../runtime/models/model.js";
import { networkOf } from "../runtime/models/network.js";
import { serial } from "../runtime/serial.js";
import { weightedOf, type Trainer } from "../runtime/training/job.js";
import type { Evaluation } from "../runtime/training/local-round.js";
import { openMeans, type MeanFigures, type MeansLine } from "./averages.js";
import { byClient, type ByClient } from "./spread.js";
import { writeWhole } from "./write.js";

/**
 * What a simulation can look at and a federation cannot: the clients' own weights and labels. It
 * adds to a run's folder
 *
 *     means.jsonl    metrics of the means of clients' weights, one line for each evaluated round
 *     clients.json   the final model's accuracy for each client (spread.ts), where the task is one
 *                    class for each example
 *     newest/        the newest weights of each client
 */
export interface Lab {
  /** The trainer for one client: the same, but watched. */
  trainerOf(client: string): Trainer;
  /** A round is committed. */
  round(record: RoundRecord): void;
  /** The run is finished with this model: what is still missing is measured. */
  end(model: Uint8Array): Promise<ByClient | undefined>;
}

export function openLab(options: {
  readonly folder: string;
  readonly card: ModelCard;
  /** What the run does to inputs, from its first round on. */
  readonly normalisation: () => Normalisation | undefined;
  readonly seed: string;
  readonly rounds: number;
  readonly evaluateEvery: number;
  readonly trainer: Trainer;
  readonly test: Part;
  readonly dataset: Dataset;
  /** Ids of all clients, and the rows of each in the same order. */
  readonly clients: readonly string[];
  readonly parts: readonly Uint32Array[];
  readonly onMeans: (line: MeansLine) => void;
}): Lab {
  const { folder, card, seed, rounds, evaluateEvery, trainer, test } = options;
  const { description } = card;
  const file = join(folder, "means.jsonl");
  const reader = metricReader(card);
  function figuresOf({ sums, ...evaluation }: Evaluation): MeanFigures {
    const { accuracy, loss, metrics } = resultOf(reader, {
      ...evaluation,
      sums: sums && { values: sums, count: evaluation.count },
    });
    return reader.task === "classes" ? { accuracy, loss } : { accuracy, loss, metrics };
  }
  const weighted = (weights: Float32Array) =>
    weightedOf({ ...card, normalisation: options.normalisation(), weights });
  const network = networkOf(description);
  const means = openMeans({
    folder: join(folder, "newest"),
    trainer,
    clients: options.clients,
    shares: network.shares,
    initial: initialWeights(network, seed),
    test: async (weights) =>
      figuresOf(await trainer.evaluate({ ...weighted(weights), part: test })),
  });
  const writing = serial();
  let last = 0;

  function measure(round: number, participants: readonly string[]): void {
    last = round;
    const line = means.evaluate(round, participants, round === rounds);
    // An end in the middle of it leaves the line out; a missing last one is made up for by `end`.
    void writing.run(() =>
      line.then(
        async (line) => {
          await appendFile(file, `${JSON.stringify(line)}\n`);
          options.onMeans(line);
        },
        () => {},
      ),
    );
  }

  return {
    trainerOf: (client) => means.trainerOf(client),
    round({ round, participants }) {
      if (round % evaluateEvery === 0 || round === rounds) measure(round, participants);
      else means.forget();
    },
    async end(model) {
      if (last !== rounds && !(await hasLine(file, rounds))) {
        const text = await readFile(join(folder, "rounds.jsonl"), "utf8");
        const line = JSON.parse(text.trim().split("\n").at(-1)!) as RoundRecord;
        measure(line.round, line.participants);
      }
      await writing.idle();
      if (reader.task !== "classes") return undefined;
      const { weights } = loadModel(model);
      const { inputs, classes, labels } = test.dataset;
      const logits = await trainer.predict({
        ...weighted(weights),
        inputs,
      });
      const predicted = Int32Array.from(labels, (_, i) =>
        indexOfLargest(logits.subarray(i * classes.length, (i + 1) * classes.length)),
      );
      const spread = byClient(test.dataset, predicted, options.dataset.labels, options.parts);
      await writeWhole(
        join(folder, "clients.json"),
        `${JSON.stringify(spread)}
`,
      );
      return spread;
    },
  };
}

async function hasLine(file: string, round: number): Promise<boolean> {
  const text = await readFile(file, "utf8").catch(() => "");
  return text.split("\n").some((line) => line.startsWith(`{"round":${round},`));
}

const indexOfLargest = (values: Float32Array): number =>
  values.reduce((best, value, i) => (value > values[best] ? i : best), 0);
