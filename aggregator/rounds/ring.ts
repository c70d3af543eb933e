import {
  LEAST_MEMBERS,
  MOST_COMPLETE,
  MOST_NEIGHBOURS,
  mostHolders,
  type Ring,
} from "../../runtime/secure/graph.js";
import { ringPlan } from "../privacy/ring-plan.js";
import type { AggregatorSettings } from "../settings.js";
import type { Attempt } from "./engine.js";
import { wantedOf } from "./synchronous.js";

/** What a ring is planned by. */
export type RingRules = Pick<AggregatorSettings, "quorum" | "secureCorrupt" | "secureDropout">;

type Size = Pick<Attempt, "goal" | "selected">;

/** The most clients that may exchange keys in an attempt, and the fewest. */
export function sizeOf({ quorum }: Pick<RingRules, "quorum">, attempt: Size) {
  const { wanted: most, quorum: fewest } = wantedOf({ quorum, least: LEAST_MEMBERS }, attempt);
  return { most, fewest };
}

/**
 * The ring of an attempt whose clients are too many for masks of each with each, planned for the
 * fewest that it may have: more of them only make those who are corrupt a smaller part. Nothing
 * where they are not too many, or where no ring does whose lists go into a message.
 */
export function ringOf(rules: RingRules, attempt: Size): Ring | undefined {
  const { most, fewest } = sizeOf(rules, attempt);
  return most > MOST_COMPLETE ? planned(rules, fewest) : undefined;
}

function planned({ secureCorrupt, secureDropout }: RingRules, clients: number): Ring | undefined {
  const risk = { corrupt: secureCorrupt, dropout: secureDropout };
  const plan = ringPlan(clients, risk, mostHolders);
  if (plan === undefined || plan.k > MOST_NEIGHBOURS) return undefined;
  return { neighbours: plan.k, threshold: plan.t };
}

/** The most clients of a round on any ring: a step of an update is then 1/2000 of its range. */
const MOST_ON_RING = 1_000_000;

/** The most clients of a secure round: on a ring, where one can be had, or all with each other. */
export function mostSecure(rules: RingRules): number {
  const fewest = Math.ceil(rules.quorum * (MOST_COMPLETE + 1));
  const can = [fewest, MOST_ON_RING].every((clients) => planned(rules, clients) !== undefined);
  return can ? MOST_ON_RING : MOST_COMPLETE;
}

/** How many of those who exchanged keys have to stay in a ring: it was planned for these. */
export const stayingIn = ({ secureDropout }: RingRules, clients: number): number =>
  clients - Math.ceil(secureDropout * clients);
