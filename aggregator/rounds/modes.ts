import type { Algorithm } from "../../runtime/algorithms/algorithm.js";
import { ConfigError } from "../../runtime/errors.js";
import type { AggregatorSettings } from "../settings.js";
import { buffered } from "./buffered.js";
import { roundsOf, type Rounds } from "./engine.js";
import { synchronous } from "./synchronous.js";

/** The fewest and the most updates of a round that can be combined. */
interface RoundSize {
  readonly least: number;
  readonly most: number;
}

/**
 * The rounds that the settings ask for.
 * @throws ConfigError `client-state` for buffered rounds of an algorithm whose clients keep a
 * state: it follows from one model to the next, and an update from an older one would not fit
 * it.
 */
export function roundsFor(
  settings: AggregatorSettings,
  { name, client }: Algorithm,
  { least, most }: RoundSize = { least: 1, most: Infinity },
): Rounds {
  const { seed, rounds, quorum, minimum, deadline } = settings;
  const shared = {
    seed,
    rounds,
    gather: settings.gather ?? minimum,
    gatherDeadline: settings.gatherDeadline,
    pause: settings.pause,
    storageDeadline: settings.storageDeadline,
    least,
  };
  if (settings.mode === "synchronous")
    return roundsOf(
      synchronous({
        ...shared,
        quorum,
        deadline,
        selection: {
          fraction: settings.fraction,
          count: settings.clientsPerRound,
          minimum,
          overSelection: settings.overSelection,
          bernoulli: settings.bernoulli,
          most,
        },
      }),
    );
  if (client.state.length > 0)
    throw new ConfigError(
      "client-state",
      `"mode" expected synchronous for ${name}, whose clients keep a state from round to round, got buffered`,
    );
  const { buffer, concurrency, maxStaleness } = settings;
  return roundsOf(
    buffered({
      ...shared,
      buffer,
      concurrency,
      maxStaleness,
      quorum,
      minimum,
      deadline,
    }),
  );
}
