import fc from "fast-check";

/** What may happen to an engine of rounds; `who` is taken modulo what there is. */
export type Act =
  | { do: "roster"; n: number }
  | { do: "answer" }
  | { do: "expire" }
  | { do: "hold" }
  | { do: "release" }
  | { do: "stale" }
  | { do: "lose"; who: number }
  | {
      do: "client";
      what: "admitted" | "refused" | "gone" | "back" | "expired" | "pending";
      who: number;
      /** About work from before. */
      old: boolean;
      /** It will not go better the next time. */
      barred: boolean;
    };

/** @param most clients at a time */
export const anyAct = (most: number): fc.Arbitrary<Act> =>
  fc.oneof(
    fc.record({
      do: fc.constant("roster" as const),
      n: fc.integer({ min: 0, max: most }),
    }),
    { weight: 4, arbitrary: fc.constant({ do: "answer" as const }) },
    fc.constant({ do: "expire" as const }),
    fc.constant({ do: "hold" as const }),
    { weight: 2, arbitrary: fc.constant({ do: "release" as const }) },
    fc.constant({ do: "stale" as const }),
    fc.record({ do: fc.constant("lose" as const), who: fc.nat(12) }),
    {
      weight: 12,
      arbitrary: fc.record({
        do: fc.constant("client" as const),
        what: fc.constantFrom(
          "admitted" as const,
          "admitted" as const,
          "admitted" as const,
          "refused" as const,
          "gone" as const,
          "back" as const,
          "expired" as const,
          "pending" as const,
        ),
        who: fc.nat(12),
        old: fc.boolean(),
        barred: fc.boolean(),
      }),
    },
  );
