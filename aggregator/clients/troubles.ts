// Work of a client that came to nothing, and whether it is asked again. What would end in the same
// way again is not tried again before something has changed.

/** The last time that a client could not do a kind of work. */
export interface Trouble {
  /** Which message brought it: the client declined or failed, or its update was refused. */
  readonly what: "declined" | "failed" | "refused";
  /** Of docs/protocol.md. */
  readonly code: string;
  readonly message: string;
  /** How often in a row it was this. */
  readonly times: number;
  /**
   * What has to come before the client is asked again: its next `ready`, by which it says that
   * something has changed, or another model. Undefined where it may go better by itself.
   */
  readonly until: "ready" | "model" | undefined;
}

/** What does not go away by itself: the client's data, code and limits. */
const OF_THE_CLIENT = new Set([
  ...[
    "task",
    "algorithm",
    "codec",
    "layer",
    "settings",
    "model-bytes",
    "memory",
    "seconds",
    "data",
  ].map((code) => `declined ${code}`),
  ...["failed data", "failed seconds", "refused layout", "refused bytes"],
]);

/**
 * What follows from the model and the settings of the round, and a little from chance: the order of
 * the examples is another one in each attempt.
 */
const OF_THE_MODEL = new Set([
  "failed diverged",
  ...["not-finite", "range", "norm", "grid"].map((code) => `refused ${code}`),
]);

/** What is tried again all the same, until it has happened so often in a row. */
const TRIES = 3;

/** The trouble of a client that had this one before. */
export function troubleAfter(
  before: Trouble | undefined,
  { what, code, message }: Pick<Trouble, "what" | "code" | "message">,
): Trouble {
  const again = before?.what === what && before.code === code;
  const times = again ? before.times + 1 : 1;
  const name = `${what} ${code}`;
  const lasts = OF_THE_CLIENT.has(name) || (times >= TRIES && !OF_THE_MODEL.has(name));
  const until = lasts ? "ready" : OF_THE_MODEL.has(name) ? "model" : undefined;
  return { what, code, message, times, until };
}

/** Whether it may go better from the same model, should there be nobody else. */
export const mayTryAgain = ({ until, times }: Trouble): boolean =>
  until === "model" && times < TRIES;

/** What a trouble is, for the sentence that names its client. */
export const wordsOf = ({ code, message }: Pick<Trouble, "code" | "message">): string =>
  message === "" ? code : `${code}: ${message}`;
