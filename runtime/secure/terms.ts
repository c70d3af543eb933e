import * as v from "valibot";
import { ProtocolError } from "../errors.js";
import { parseJson } from "../json.js";
import { checked } from "../protocol/messages.js";
import { above0, whole } from "../protocol/numbers.js";
import { LEAST_MEMBERS, MOST_COMPLETE, MOST_NEIGHBOURS, mostHolders } from "./graph.js";

/**
 * The terms of a secure round: one text for all of its clients, which sign its hash. What is not in
 * it could differ from client to client, so that the sum is that of one of them. Strict, since a
 * term that is not known would change what was agreed to.
 */
const schema = v.pipe(
  v.strictObject({
    /** SHA-256 of the model that all train from. */
    model: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/, "64 hexadecimal digits in lower case")),
    /** `assign.settings`, but for the seed. */
    training: v.record(v.string(), v.unknown()),
    /** c, Q and w_max of the quantiser. */
    range: above0(1e30),
    steps: whole(1, 2 ** 31 - 1),
    maxWeight: whole(1, 2 ** 29 - 1),
    /** The fewest clients with which keys are exchanged. */
    clients: whole(LEAST_MEMBERS, 1e6),
    /** Beyond the complete graph; its lists go into one message, too. */
    ring: v.optional(
      v.strictObject({
        neighbours: whole(2, MOST_NEIGHBOURS),
        threshold: whole(2, MOST_NEIGHBOURS + 1),
      }),
    ),
  }),
  v.check(
    ({ clients, ring }) =>
      ring === undefined
        ? clients <= MOST_COMPLETE
        : clients > ring.neighbours && ring.threshold >= mostHolders(ring.neighbours),
    "a graph in which nobody's secrets can both be had",
  ),
);

export type SecureTerms = v.InferOutput<typeof schema>;

/** @throws ProtocolError `terms` */
export function readTerms(text: string): SecureTerms {
  const value = parseJson(text);
  if (value === undefined)
    throw new ProtocolError("terms", `"secure" expected JSON, got something else`);
  return checked(schema, value, "secure", "terms");
}
