import { figureText } from "../runtime/models/figure-text.js";
import { judgementOf, type RoundReport } from "./view.js";

/** What a run says of its losses, and with what it began to train. */
export interface Course {
  /** The clients' mean loss before round 1, where it was seen. */
  readonly began?: number;
  /** After the training of the last round. */
  readonly ended?: number;
  readonly learningRate: number;
}

/**
 * What a person should know of a run that ends with a model that is worse than none, in a sentence;
 * nothing of others.
 */
export function verdictOn(
  { began, ended, learningRate }: Course,
  last: RoundReport | undefined,
): string | undefined {
  if (began !== undefined && ended !== undefined && !(ended <= began))
    return `The loss has grown since the run began (from ${figureText(began)} to ${figureText(ended)}): training diverges. A smaller --learning-rate than ${learningRate} may help.`;
  const judged = last && judgementOf(last);
  if (last?.judgedBy === "r2" && judged !== undefined && !(judged >= 0))
    return "An R2 below 0 is worse than the mean of the targets as every prediction. More rounds, or another --learning-rate, may help.";
  return undefined;
}
