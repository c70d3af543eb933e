/**
 * The aggregator, in a program of yours (docs/aggregator.md).
 *
 * @module fedflat/aggregator
 */

export {
  Aggregator,
  type AggregatorEvents,
  type AggregatorOptions,
  type Ending,
  type EvaluationRecord,
  type EvaluationResult,
  type RoundRecord,
  type RoundTimings,
  type Situation,
  type Status,
} from "./run/aggregator.js";
export type { ClientStatus, Load } from "./run/options.js";
export type { ClientState } from "./clients/clients.js";
export type { Refusal } from "./aggregation/validation.js";
export type { Tested } from "./run/evaluation-record.js";
export {
  listen,
  openPort,
  type AggregatorServer,
  type OpenPort,
  type ServerOptions,
} from "./server/server.js";
export { openKeyRing, type Enrolment, type KeyRing } from "./sessions/enrolment.js";
export type { Admission } from "./sessions/authentication.js";
export type { AggregatorSettings, GivenSettings } from "./settings.js";
export type { Metrics, Traffic } from "./monitoring/metrics.js";
export type { Log } from "./log.js";
export { initialModel } from "../runtime/models/initial.js";
export type { ModelCard } from "../runtime/models/model.js";
export { preset } from "../runtime/models/presets.js";
