import type { Loaded } from "../../runtime/client/model-cache.js";
import type { Identity, Platform, SocketOptions } from "../../runtime/platform/platform.js";
import type { OutgoingClientMessage } from "../../runtime/protocol/client-messages.js";
import type { ServerMessageOf } from "../../runtime/protocol/server-messages.js";
import type { Attack } from "../attacks.js";
import { readStatisticsSettings } from "../../runtime/protocol/settings.js";
import type { Recording } from "./recording.js";
import type { SharedModels } from "./shared-models.js";
import type { Update } from "./updates.js";

export type Assign = ServerMessageOf<"assign">;
export type Offer = Extract<OutgoingClientMessage, { type: "offer" }>;

/** What a trainer, or nobody, makes of an assignment. */
export interface MadeUpdate {
  readonly update: Update;
  /** As the trainer measured; invented where there is none. */
  readonly metrics?: Offer["metrics"];
}

/** What the clients of a fleet have in common. */
export interface Fleet {
  readonly url: string;
  readonly seed: string;
  readonly token: string | undefined;
  readonly socket: SocketOptions;
  /** Its clients train in no other rounds. */
  readonly secureOnly?: boolean;
  readonly recording: Recording;
  openSocket: Platform["openSocket"];
  identityOf(index: number): Identity;
  /** How many samples a client trains on; where it has none, its profile says what it claims. */
  samplesOf(index: number): number | undefined;
  readonly models: SharedModels;
  work(
    client: number,
    assign: Assign,
    model: Loaded,
    /** The first number of the update is not one. */
    poisoned: boolean,
    /** What it does instead of honest work. */
    attack: Attack,
  ): Promise<MadeUpdate>;
  /** An update's numbers, end to end, for a secure round. */
  vectors(assign: Assign, model: Loaded, update: Update): Float32Array;
  /** Where clients have data. */
  readonly evaluate: ((client: number, model: Loaded) => Promise<Evaluated>) | undefined;
  readonly measure: ((client: number, assign: Assign, model: Loaded) => InputFigures) | undefined;
}

/** What a client says of its inputs. */
export type InputFigures = NonNullable<
  Extract<OutgoingClientMessage, { type: "report" }>["statistics"]
>;

type Evaluated = NonNullable<Extract<OutgoingClientMessage, { type: "report" }>["evaluation"]>;

/** What a client without data says that it measured. */
export const invented = (seconds: number): Offer["metrics"] => ({
  lossBefore: 1,
  lossAfter: 1,
  activationNorms: [],
  seconds,
});

/** The same of a model: one in ten of its samples, half of them right. */
export function inventedEvaluation(samples: number): Evaluated {
  const count = Math.max(1, Math.round(samples / 10));
  return { count, correct: Math.floor(count / 2), loss: count };
}

/** The same of inputs: each channel has mean 0 and deviation 1. */
export function inventedStatistics(samples: number, { settings }: Assign): InputFigures {
  const { shape, targets } = readStatisticsSettings(settings);
  const scale = (length: number) => [0, 1].map((value) => new Array<number>(length).fill(value));
  const [mean, deviation] = scale(shape[shape.length - 1]);
  const [targetMean, targetDeviation] = scale(targets);
  return { count: Math.max(1, samples), mean, deviation, targetMean, targetDeviation };
}
