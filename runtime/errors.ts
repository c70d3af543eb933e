/**
 * The kinds of error a caller can act on. Each carries a stable `code`; the message reads `"label"
 * expected X, got Y`. Every room may import this file, and it imports nothing.
 */
export class FedflatError extends Error {
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

/** The other end, or the connection to it, broke the protocol or its limits. */
export class ProtocolError extends FedflatError {}

/** A model description, its weights or an algorithm does not fit. */
export class ModelError extends FedflatError {}

/** Data could not be read, or does not fit the model. */
export class DataError extends FedflatError {}

/** A setting, flag or environment is wrong. */
export class ConfigError extends FedflatError {}
