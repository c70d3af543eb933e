import { METRIC_NAMES, METRICS, type MetricName } from "../../runtime/models/metrics/built-in.js";
import {
  BASE_FIGURES,
  type Family,
  type RoundFigure,
  type RoundFigures,
  type RoundSources,
} from "./base-figures.js";

export {
  ROUND_SOURCES,
  type Family,
  type RoundFigure,
  type RoundFigures,
  type RoundSources,
} from "./base-figures.js";

/** Where a model was evaluated. */
type Place = "test" | "client";
/** The figure of a metric: `testR2`. Accuracy's have rows of their own. */
type MetricFigure = `${Place}${Capitalize<Exclude<MetricName, "accuracy">>}`;

/** The name of a metric's figure. */
export const figureOf = (
  place: Place,
  metric: MetricName,
): MetricFigure | "testAccuracy" | "clientAccuracy" =>
  `${place}${metric[0].toUpperCase()}${metric.slice(1)}` as MetricFigure;

/** Two rows for each metric but accuracy. */
const METRIC_FIGURES = Object.fromEntries(
  METRIC_NAMES.filter((name) => name !== "accuracy").flatMap((name) => {
    const { unit, help } = METRICS[name];
    const family: Family = {
      name: `fedflat_${name}${unit === "share" ? "_ratio" : ""}`,
      help: `${help}, of the last evaluated model`,
    };
    const row = (place: Place, on: "test" | "federated", where: string) => [
      figureOf(place, name),
      {
        unit,
        help: `${help}; on ${where}`,
        scalar: `${name}/${on}`,
        series: { family, labels: { on } },
        of: ({ evaluations }) => evaluations?.[on]?.metrics?.[name],
      } satisfies RoundFigure,
    ];
    return [
      row("test", "test", "the server's test data"),
      row("client", "federated", "the clients' hold-outs"),
    ];
  }),
) as Readonly<Record<string, RoundFigure>>;

/**
 * The figures of a committed round. The live page, `/metrics`, TensorBoard and the table in
 * docs/operations.md read them from here, so that a new one is a row.
 */
export const ROUND_FIGURES: Readonly<Record<string, RoundFigure>> = {
  ...BASE_FIGURES,
  ...METRIC_FIGURES,
};

/** The rows alone. */
export const ALL_FIGURES: readonly RoundFigure[] = Object.values(ROUND_FIGURES);

/** The figures that these sources have. */
export function figuresOf(sources: RoundSources): RoundFigures {
  const all = Object.entries(ROUND_FIGURES).map(([name, { of }]) => [name, of(sources)] as const);
  return Object.fromEntries(all.filter(([, value]) => value !== undefined));
}
