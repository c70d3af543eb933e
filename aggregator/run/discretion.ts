import { wordsOf, type Trouble } from "../clients/troubles.js";
import type { AggregatorEvents, Tell } from "./options.js";
import type { Privacy } from "./privacy.js";

/** Says what may be heard of an event, or nothing. */
type Discretion = {
  readonly [E in keyof AggregatorEvents]?: (
    ...args: AggregatorEvents[E]
  ) => AggregatorEvents[E] | undefined;
};

/** Endings of a client's work that its line decided, and not its data. */
const OF_THE_LINE = new Set(["late", "stale", "left", "bye", "unknown-assignment", "conflict"]);

const withoutCode = <T extends { readonly code: string }>(event: T): T =>
  OF_THE_LINE.has(event.code) ? event : { ...event, code: "other" };

/**
 * What a run with differential privacy keeps back: losses, norms, counts of batches, and reasons
 * that a client's data had a say in. No epsilon covers them.
 */
const DISCRETION: Discretion = {
  client: ({ reason, code, ...change }) => [
    change.change === "busy"
      ? { ...change, ...(code !== undefined && { code: "other" }) }
      : { ...change, ...(reason !== undefined && { reason }) },
  ],
  progress: () => undefined,
  doubted: () => undefined,
  counted: ({ norm: _, clipped: __, trainSeconds: ___, ...update }) => [update],
  refused: (refusal) => [
    OF_THE_LINE.has(refusal.code)
      ? refusal
      : { ...withoutCode(refusal), message: "its reason is kept back" },
  ],
  missed: ({ reason: _, ...work }) => [withoutCode(work)],
};

/** Tells listeners what they may hear. */
export const discreetly = (privacy: Privacy | undefined, tell: Tell): Tell =>
  privacy?.discreet !== true
    ? tell
    : (event, ...args) => {
        const heard = DISCRETION[event];
        const said = heard === undefined ? args : heard(...args);
        if (said !== undefined) tell(event, ...said);
      };

/** What a trouble is, for a sentence that names its client: no more of it than may be told. */
export const troubleInWords = (privacy: Privacy | undefined, trouble: Trouble): string =>
  privacy?.discreet === true ? trouble.what : wordsOf(trouble);
