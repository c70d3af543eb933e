import { ModelError } from "../errors.js";
import type { Algorithm, NamedNumbers, State } from "./algorithm.js";
import { fedavg } from "./fedavg.js";
import { moved } from "./vectors.js";

/**
 * A server optimizer moves the global model by treating the mean delta D as a gradient's opposite
 * (Reddi et al. 2021, arXiv:2003.00295, algorithm 2). It serves any algorithm whose server half
 * takes the plain mean of the deltas.
 */
export interface ServerOptimizer {
  readonly name: string;
  readonly source: string;
  readonly defaults: NamedNumbers;
  /** Names of the float64 vectors kept from round to round, and what they start as. */
  readonly state: Readonly<Record<string, (settings: NamedNumbers) => number>>;
  /** How far the model moves, and the next state. */
  step(
    meanDelta: Float64Array,
    state: State,
    settings: NamedNumbers,
  ): { readonly move: Float64Array; readonly state: State };
}

/**
 * The algorithm `client+optimizer`: the client half of one, the mean delta handed to the other.
 * @throws ModelError `server-optimizer` where the algorithm's server does more than take the mean delta.
 */
export function withServerOptimizer(algorithm: Algorithm, optimizer: ServerOptimizer): Algorithm {
  if (algorithm.server !== fedavg.server)
    throw new ModelError(
      "server-optimizer",
      `"${optimizer.name}" expected an algorithm whose server takes the mean delta (fedavg, fedprox, fedsam, fedasam), got "${algorithm.name}"`,
    );
  return {
    name: algorithm === fedavg ? optimizer.name : `${algorithm.name}+${optimizer.name}`,
    source: optimizer.source,
    defaults: { ...algorithm.defaults, ...optimizer.defaults },
    client: algorithm.client,
    server: {
      folds: algorithm.server.folds,
      state: optimizer.state,
      finish({ global, fold, state, settings }) {
        const scale = 1 / fold.weights.delta;
        const meanDelta = fold.sums.delta.map((sum) => sum * scale);
        const step = optimizer.step(meanDelta, state, settings);
        return {
          global: moved(global, (w, i) => w + step.move[i]),
          state: step.state,
        };
      },
    },
  };
}
