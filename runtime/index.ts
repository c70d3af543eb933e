export {
  FedflatError,
  ProtocolError,
  ModelError,
  DataError,
  ConfigError,
} from "./errors.js";
