import type { Vector } from "../tensors/layout.js";

/**
 * A federated algorithm is data, not a loop: the terms it adds to the local objective, what it
 * keeps on the client, what it sends, and how the server moves the model from the sum of what was
 * sent. One file in this folder is one algorithm.
 */
export interface Algorithm {
  readonly name: string;
  /** Paper, one line. */
  readonly source: string;
  /** The algorithm's own numbers and their defaults (`alpha`, `mu` ...). */
  readonly defaults: Readonly<Record<string, number>>;
  readonly client: ClientHalf;
  readonly server: ServerHalf;
}

export type NamedVectors = Readonly<Record<string, Vector>>;
/**
 * Vectors kept from round to round, on the server or on a client: float64, so that a sum of what
 * was sent is exact.
 */
export type State = Readonly<Record<string, Float64Array>>;
export type NamedNumbers = Readonly<Record<string, number>>;

/** What a client half is given at the start of a local round. */
export interface ClientContext {
  /** w_t, the global model. */
  readonly global: Vector;
  /** The client's committed state; every vector named in `ClientHalf.state`, zero at first. */
  readonly state: State;
  /** What the server broadcast beside the model; every vector named in `ClientHalf.receives`. */
  readonly received: NamedVectors;
  readonly settings: NamedNumbers;
  /** n_k / mean(n) over the run's registered clients. */
  readonly share: number;
  /** eta_t of this round, and eta_0. */
  readonly learningRate: number;
  readonly initialLearningRate: number;
  /** K, the number of local steps. */
  readonly steps: number;
}

/**
 * The terms added to the batch objective F = cross-entropy + (zeta/2) sum A_l; see `step` in
 * training.
 */
export interface LocalObjective {
  /** coefficient/2 ||theta - center||^2, inside the clip. */
  readonly proximal?: { readonly coefficient: number; readonly center: Vector };
  /** <theta, linear>, inside the clip. */
  readonly linear?: Vector;
  /** Added to the settings' weight decay, outside the clip. */
  readonly weightDecay?: number;
  /**
   * A first ascent step of this radius before each descent (SAM, ASAM). `clipped`: the ascent
   * gradient is clipped first.
   */
  readonly ascent?: {
    readonly kind: "sam" | "asam";
    readonly radius: number;
    /** ASAM's eta, added to |theta| of kernels. */
    readonly eta?: number;
    readonly clipped: boolean;
  };
}

/** What of a local round is known at both ends once its update has arrived. */
export interface Arrived extends Pick<
  ClientContext,
  "received" | "share" | "learningRate" | "initialLearningRate" | "steps"
> {
  readonly delta: Vector;
}

export interface ClientHalf {
  /** Names of the vectors kept on the client from round to round. */
  readonly state: readonly string[];
  /** Names of the vectors the server broadcasts beside the model. */
  readonly receives: readonly string[];
  /** Names of the vectors sent back, in order. */
  readonly sends: readonly string[];
  /**
   * Those of them that follow from the delta that arrives: both ends compute them, by the same
   * steps, where the codec leaves them out.
   */
  readonly follows?: Readonly<Record<string, (arrived: Arrived) => Vector>>;
  /**
   * What is done about what a codec leaves out: `memory` sends the difference to what was counted
   * before, `residual` adds it to the next update. The server keeps no sum of residuals.
   */
  readonly feedback?: "memory" | "residual";
  objective(context: ClientContext): LocalObjective;
  /**
   * The objective of a second model, the client's own, which predicts there and is never sent. Each
   * round trains it after the shared one, from the vector `personal` of the client's state, where
   * `nextState` keeps it; the first time from the global model.
   */
  personal?(context: ClientContext): LocalObjective;
  /** What is sent; delta = theta_end - w_t. */
  update(context: ClientContext & { readonly delta: Vector }): NamedVectors;
  /**
   * The next state, pending until the server says `committed`; there where `state` names any.
   * `sent` is the update as the server will add it, each number on the round's grid: where state
   * and server add up the same `sent`, in float64, the server's sum is that of the clients' states
   * to the bit. `wanted` is the same before the codec; `personal` is the client's own model, where
   * the algorithm has such.
   */
  nextState?(
    context: ClientContext & {
      readonly sent: NamedVectors;
      readonly wanted: NamedVectors;
      readonly personal?: Vector;
    },
  ): State;
}

/**
 * What arrived in a round: for each vector sent, the weighted sum; and the weights' sum and the
 * number of clients.
 */
export interface Fold {
  readonly sums: Readonly<Record<string, Float64Array>>;
  /**
   * Sum of the weights of each vector: of samples where it is weighted by samples, else the number
   * of clients.
   */
  readonly weights: NamedNumbers;
  /** |S_t|, clients counted. */
  readonly count: number;
}

export interface ServerHalf {
  /** How each vector sent is weighted in the sum. Every name of `ClientHalf.sends` stands here. */
  readonly folds: Readonly<Record<string, "samples" | "uniform">>;
  /** Names of the float64 vectors kept from round to round, and what they start as. */
  readonly state: Readonly<Record<string, (settings: NamedNumbers) => number>>;
  /**
   * What to broadcast beside the model; every name of `ClientHalf.receives` stands here.
   * `population`: as in `finish`, at least 1.
   */
  broadcast?(state: State, population: number): State;
  /**
   * The next model and state. Nothing given may be written to, or kept: the memory of `global` is
   * used again.
   */
  finish(input: {
    readonly global: Vector;
    readonly fold: Fold;
    readonly state: State;
    readonly settings: NamedNumbers;
    /** m, the run's registered clients when the round opened. */
    readonly population: number;
  }): { readonly global: Vector; readonly state: State };
}
