import type { AggregatorSettings } from "../settings.js";
import { buffered } from "./buffered.js";
import {
  roundsOf,
  type Attempt,
  type EngineState,
  type RoundEngine,
  type Rounds,
} from "./engine.js";
import { secure } from "./secure.js";
import { mayDoWithout, statisticsFirst } from "./statistics.js";
import { synchronous } from "./synchronous.js";

/** The fewest and the most updates of a round that can be combined. */
interface RoundSize {
  readonly least: number;
  readonly most: number;
}

/**
 * The rounds that the settings ask for.
 * @param takesStatistics clients are asked for statistics before the first round
 * @param latest the attempt that was begun last, before a restart
 */
export function roundsFor(
  settings: AggregatorSettings,
  { least, most }: RoundSize,
  takesStatistics: boolean,
  latest?: Pick<Attempt, "round" | "attempt">,
): Rounds {
  const { seed, rounds, quorum, minimum, deadline } = settings;
  const shared = {
    seed,
    rounds,
    quorum,
    deadline,
    gather: settings.gather ?? minimum,
    gatherDeadline: settings.gatherDeadline,
    pause: settings.pause,
    storageDeadline: settings.storageDeadline,
    least,
  };
  // Everybody is asked for statistics.
  const selection = { fraction: 1, minimum, overSelection: 1, bernoulli: false };
  const after = <S extends EngineState>(engine: RoundEngine<S>): Rounds =>
    takesStatistics
      ? roundsOf(
          statisticsFirst({ ...shared, least: 1, selection }, engine, mayDoWithout(settings)),
        )
      : roundsOf(engine);
  if (settings.mode === "synchronous") {
    const rules = {
      ...shared,
      selection: {
        fraction: settings.fraction,
        count: settings.clientsPerRound,
        minimum,
        overSelection: settings.overSelection,
        bernoulli: settings.bernoulli,
        most,
      },
    };
    const { secureDeadline: phaseDeadline } = settings;
    return settings.secure
      ? after(secure({ ...rules, phaseDeadline, latest, ring: settings }))
      : after(synchronous(rules));
  }
  const { buffer, concurrency, maxStaleness } = settings;
  return after(buffered({ ...shared, buffer, concurrency, maxStaleness, minimum }));
}
