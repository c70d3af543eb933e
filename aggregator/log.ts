/** The part of a pino logger that the aggregator uses. What is given must hold no secret. */
export interface Log {
  info(facts: object, sentence: string): void;
  warn(facts: object, sentence: string): void;
  error(facts: object, sentence: string): void;
}

export const silent: Log = { info() {}, warn() {}, error() {} };
