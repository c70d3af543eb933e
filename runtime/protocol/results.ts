import * as v from "valibot";
import { assignment, figures, message, orNull, sha256 } from "./fields.js";
import { between, whole } from "./numbers.js";

// What a client sends of what came of its work. It reads these messages too: its figures are its
// own, and offers come back from its store.

/** An update is ready. */
export const offer = message("offer", {
  assignment,
  sha256,
  bytes: whole(1),
  samples: whole(1),
  metrics: v.object({
    lossBefore: between(-1e30, 1e30),
    lossAfter: between(-1e30, 1e30),
    activationNorms: v.pipe(v.array(between(0, 1e30)), v.maxLength(1024)),
    seconds: between(0, 1e9),
  }),
});

/** The result of an evaluation, or statistics of the examples. */
export const report = message("report", {
  assignment,
  evaluation: orNull(
    v.object({
      count: whole(0),
      correct: whole(0),
      loss: between(-1e30, 1e30),
      sums: v.optional(v.pipe(v.array(between(-1e30, 1e30)), v.maxLength(4096))),
    }),
  ),
  statistics: orNull(
    v.object({
      count: whole(1),
      mean: figures(-1e30),
      deviation: figures(0),
      targetMean: v.optional(figures(-1e30), []),
      targetDeviation: v.optional(figures(0), []),
    }),
  ),
});

type Result = v.InferInput<typeof offer> | v.InferInput<typeof report>;

/** Whether the other end will be able to read this message. */
export const isReadable = (message: Result): boolean =>
  v.safeParse(message.type === "offer" ? offer : report, message).success;
