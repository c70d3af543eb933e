import type {
  Algorithm,
  ClientContext,
  LocalObjective,
  NamedVectors,
  State,
} from "../algorithms/algorithm.js";
import { combine, onGrid } from "../algorithms/vectors.js";
import type { Part } from "../data/dataset.js";
import { networkOf } from "../models/network.js";
import { putShare, takeShare } from "../models/shares.js";
import { weightedOf, type JobOptions, type Snapshot, type Trainer, type Weighted } from "./job.js";
import type { RoundResult, RoundSettings } from "./local-round.js";
import { shareOf, stepsOf, whole } from "./transmission.js";

/** A client's part in one round. */
interface LocalRound extends Weighted {
  readonly algorithm: Algorithm;
  readonly settings: RoundSettings;
  readonly part: Part;
  /** The client's committed state; a vector that is missing is zero. */
  readonly state?: State;
  /** What the server broadcast beside the model; a vector that is missing is zero. */
  readonly received?: NamedVectors;
  readonly spare?: number;
  /** Where the same round was cut before. */
  readonly from?: Snapshot;
  /** What arrives of an update, which it sends; all of it where not given. */
  readonly transmit?: (wanted: NamedVectors) => NamedVectors;
}

/**
 * Trains one local round: the algorithm turns model, state and settings into an objective, a worker trains, and the
 * algorithm turns the delta into what is sent, and what is sent into what is kept. The algorithm itself never goes to the
 * worker, so it may be anyone's.
 * @throws FedflatError as `Trainer.train`
 */
export async function trainRound(
  trainer: Trainer,
  round: LocalRound,
  options?: JobOptions,
): Promise<RoundResult> {
  const { algorithm, settings, part, description, weights } = round;
  const { client } = algorithm;
  const samples = part.rows.length;
  const { shared } = networkOf(description).shares;
  const { size } = shared.layout;
  const context: ClientContext = {
    global: takeShare(shared, weights),
    state: filled(client.state, round.state, () => new Float64Array(size)),
    received: filled(client.receives, round.received, () => new Float32Array(size)),
    settings: { ...algorithm.defaults, ...settings.algorithmSettings },
    share: shareOf(samples, settings.meanSamples),
    learningRate: settings.learningRate,
    initialLearningRate: settings.initialLearningRate,
    steps: stepsOf(settings, samples),
  };
  const job = { ...weightedOf(round), part, settings, spare: round.spare };
  /** The client's own model; a round that was cut trains it from its first batch on. */
  const trainOwn = async (objective: LocalObjective) => {
    const start = round.state?.personal ?? context.global;
    const own = weights.slice();
    putShare(shared, start, own);
    const trained = await trainer.train(
      { ...job, weights: own, objective, isOwn: true },
      { ...options, onSnapshot: undefined },
    );
    return { trained, model: combine([1, start], [1, trained.delta]) };
  };
  const trained = await trainer.train(
    { ...job, objective: client.objective(context), from: round.from },
    options,
  );
  const { delta, metrics } = trained;
  const own = client.personal && (await trainOwn(client.personal(context)));
  const exact = client.update({ ...context, delta });
  const wanted = settings.grid === undefined ? exact : rounded(exact, settings.grid);
  const arrived = round.transmit?.(wanted) ?? wanted;
  const update = whole(client, arrived, context, settings.grid);
  const state =
    client.nextState?.({ ...context, sent: update, wanted, personal: own?.model }) ?? {};
  // What the client keeps of layers and running values goes with the model that it predicts with.
  const { personal } = own?.trained ?? trained;
  const { statistics } = (settings.batchNorm === "local" && own?.trained) || trained;
  return {
    delta,
    ...(personal && { personal }),
    ...(statistics && { statistics }),
    ...{ state, update, metrics },
  };
}

/** Every vector named, zero where it was not given. */
const filled = <V>(
  names: readonly string[],
  given: Readonly<Record<string, V>> | undefined,
  zeros: () => V,
): Record<string, V> => Object.fromEntries(names.map((name) => [name, given?.[name] ?? zeros()]));

const rounded = (vectors: NamedVectors, grid: number): NamedVectors =>
  Object.fromEntries(Object.entries(vectors).map(([name, vector]) => [name, onGrid(vector, grid)]));
