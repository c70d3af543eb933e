import * as v from "valibot";
import { readRunFolder } from "../../storage/run-folder.js";
import {
  figuresOf,
  ROUND_SOURCES,
  type RoundFigures,
  type RoundSources,
} from "../round-figures.js";
import type { RoundPoint } from "./messages.js";

/** Rounds that a page is told of; of a longer run, the last ones. */
export const ROUNDS_KEPT = 2000;

/** Six digits are more than a plot can show, and half of what a double takes as text. */
const short = (value: number): number => Number(value.toPrecision(6));

/** The figures of these sources, as a page is sent them. */
export const shortFigures = (sources: RoundSources): RoundFigures =>
  Object.fromEntries(
    Object.entries<number | readonly number[]>(figuresOf(sources)).map(([name, value]) => [
      name,
      typeof value === "number" ? short(value) : value.map(short),
    ]),
  );

/**
 * The rounds that the run's folder knows of, up to this one: what a page shows of the time before a
 * restart.
 */
export async function pastRounds(folder: string, committed: number): Promise<RoundPoint[]> {
  const lines = await readRunFolder(folder);
  const points = new Map<number, RoundPoint>();
  for (const file of ["rounds", "evaluations", "timings"] as const)
    for (const line of lines[file]) {
      const { round } = line;
      if (round > committed || round <= committed - ROUNDS_KEPT) continue;
      const read = v.safeParse(ROUND_SOURCES[file], line);
      if (read.success)
        points.set(round, {
          ...points.get(round),
          ...shortFigures({ [file]: read.output }),
          round,
        });
    }
  return [...points.values()];
}
