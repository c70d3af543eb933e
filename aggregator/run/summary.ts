import {
  METRIC_NAMES,
  METRICS,
  metricText,
  type MetricName,
} from "../../runtime/models/metrics/built-in.js";
import { figureText } from "../../runtime/models/figure-text.js";
import type { EvaluationRecord, EvaluationResult } from "./evaluation-record.js";
import type { Spread } from "./spread.js";
import type { Models } from "../storage/model-cache.js";
import type { AggregatorSettings } from "../settings.js";

/**
 * A run's `summary.md`.
 * @param population clients registered
 * @param evaluated the last evaluation
 * @param headline what models are judged by
 * @param end how the run came to its end, in a sentence
 */
export const summaryOf = (
  { algorithm, rounds, zeta }: AggregatorSettings,
  { round, current }: Models,
  population: number,
  evaluated: EvaluationRecord | undefined,
  headline: MetricName,
  end: string,
): string =>
  [
    "# Run",
    "",
    `- Rounds committed: ${round} of ${rounds}`,
    `- Algorithm: ${algorithm}, MAN's coefficient ${zeta}`,
    `- Registered clients: ${population}`,
    `- Model: model/weights.safetensors (SHA-256 ${current.sha256})`,
    ...resultLines(evaluated, headline),
    `- ${end}`,
    "",
  ].join("\n");

/** `mean of the clients 80.1 %, of the worst tenth of them 52.0 %` */
export const spreadText = (judgedBy: MetricName, { mean, worstTenth }: Spread): string =>
  `mean of the clients ${metricText(judgedBy, mean)}, of the worst tenth of them ${metricText(judgedBy, worstTenth)}`;

function resultLines(evaluated: EvaluationRecord | undefined, headline: MetricName): string[] {
  if (evaluated === undefined) return [];
  const { round, test, federated } = evaluated;
  const line = (where: string, { accuracy, metrics, loss, count }: EvaluationResult) => {
    if (accuracy !== undefined && metrics?.bits === undefined)
      return `- Round ${round} ${where}: accuracy ${(100 * accuracy).toFixed(2)} %, cross-entropy ${figureText(loss)} (${count} examples)`;
    const values = METRIC_NAMES.flatMap((name) => {
      const value = name === "accuracy" ? accuracy : metrics?.[name];
      return value === undefined ? [] : [`${METRICS[name].title} ${metricText(name, value)}`];
    });
    return `- Round ${round} ${where}: ${values.join(", ")}, loss ${figureText(loss)} (${count} examples)`;
  };
  return [
    ...(test ? [line("on the test data", test)] : []),
    ...(federated ? [line(`on the hold-outs of ${federated.clients} clients`, federated)] : []),
    ...(federated?.spread
      ? [`- Round ${round} by client: ${spreadText(headline, federated.spread)}`]
      : []),
  ];
}
