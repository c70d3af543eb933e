export { FedflatError, ProtocolError, ModelError, DataError, ConfigError } from "./errors.js";
export { loadModel, writeModel, type Model } from "./models/model.js";
export type { ModelDescription } from "./models/description.js";
export type { Algorithm } from "./algorithms/algorithm.js";
export type { Dataset, Normalisation, Part } from "./data/dataset.js";
export type {
  ClientData,
  ClientEvents,
  ClientOptions,
  CommittedModel,
  DataRequest,
  Inputs,
  Limits,
  Outcome,
  Personalised,
  PersonaliseOptions,
  Prediction,
} from "./client.js";
