import { readFileSync } from "node:fs";
import * as v from "valibot";
import { ConfigError } from "../../runtime/errors.js";
import { inWords } from "../../runtime/platform/system-errors.js";
import type { Random } from "../../runtime/tensors/random.js";
import { attackNamed, ATTACKS } from "../attacks.js";
import { parseJson } from "../json.js";

const positive = v.pipe(v.number(), v.finite(), v.minValue(0));
const share = v.pipe(v.number(), v.minValue(0), v.maxValue(1));
/** A number, or the two ends of a range from which one is drawn each time. */
const RANGE = "a number from 0, or two of them, the smaller one first";
const range = v.union(
  [
    positive,
    v.pipe(
      v.tuple([positive, positive]),
      v.check(([least, most]) => least <= most, RANGE),
    ),
  ],
  RANGE,
);

const ATTACK = `${ATTACKS.join(", ")}, or one with a strength, such as inner-product:10`;

const profile = v.strictObject({
  /** Seconds of training in a round. */
  computeSeconds: v.optional(range, 0),
  /** Bytes a second each way; 0 for no limit. */
  upload: v.optional(positive, 0),
  download: v.optional(positive, 0),
  /** Milliseconds each way. */
  latency: v.optional(range, 0),
  samples: v.optional(range, 100),
  /**
   * How likely the connection breaks while the client trains, and how many seconds it is then away.
   */
  dropOut: v.optional(share, 0),
  awaySeconds: v.optional(range, 5),
  /** What it sends instead of an honest update (attacks.ts). */
  attack: v.optional(
    v.pipe(
      v.string(ATTACK),
      v.check((name) => attackNamed(name) !== undefined, ATTACK),
    ),
    "none",
  ),
  /**
   * How likely an update comes after the deadline, is offered twice, has another length, or holds a
   * NaN.
   */
  faulty: v.optional(
    v.strictObject({
      late: v.optional(share, 0),
      duplicate: v.optional(share, 0),
      shape: v.optional(share, 0),
      nan: v.optional(share, 0),
    }),
    {},
  ),
});

/** How a kind of device behaves. */
export type Profile = v.InferOutput<typeof profile>;
type Given = v.InferInput<typeof profile>;

/** Bytes a second of a link whose speed is given in megabits. */
const megabits = (count: number) => (count * 1e6) / 8;

const PRESETS: Readonly<Record<string, Given>> = {
  instant: {},
  ...Object.fromEntries(
    ATTACKS.filter((name) => name !== "none").map((name) => [name, { attack: name }]),
  ),
  phone: {
    computeSeconds: [4, 20],
    upload: megabits(8),
    download: megabits(30),
    latency: [20, 80],
    samples: [50, 500],
    dropOut: 0.05,
    awaySeconds: [2, 30],
  },
  gateway: {
    computeSeconds: [8, 15],
    upload: megabits(20),
    download: megabits(50),
    latency: [5, 20],
    samples: [500, 5000],
    dropOut: 0.01,
    awaySeconds: [2, 10],
  },
  "flaky-rural": {
    computeSeconds: [5, 30],
    upload: megabits(0.5),
    download: megabits(2),
    latency: [80, 600],
    samples: [50, 300],
    dropOut: 0.3,
    awaySeconds: [2, 18],
    faulty: { duplicate: 0.05, nan: 0.002 },
  },
};

const ONE_KIND = "an object with at least one kind of device of a share above 0";
/**
 * A fleet in a file: for each kind of device its share, the preset it begins with, and what
 * differs.
 */
const fleetFile = v.pipe(
  v.record(
    v.string(),
    v.looseObject({
      share: v.optional(positive, 1),
      preset: v.optional(v.picklist(Object.keys(PRESETS))),
    }),
    ONE_KIND,
  ),
  v.check((kinds) => Object.values(kinds).some(({ share }) => share > 0), ONE_KIND),
);

export interface Mix {
  readonly name: string;
  /** Relative to the others. */
  readonly share: number;
  readonly profile: Profile;
}

/**
 * The devices of a fleet: presets with shares (`phone:80,gateway:20`), or a JSON file.
 * @throws ConfigError `usage`
 */
export function readFleet(given: string): Mix[] {
  if (!given.endsWith(".json"))
    return given.split(",").map((part) => {
      const [name, weight = "1"] = part.split(":");
      if (!Object.hasOwn(PRESETS, name) || !(Number(weight) > 0))
        throw new ConfigError(
          "usage",
          `"--profiles" expected a .json file, or some of ${Object.keys(PRESETS).join(", ")} with shares such as phone:80,gateway:20, got "${given}"`,
        );
      return {
        name,
        share: Number(weight),
        profile: v.parse(profile, PRESETS[name]),
      };
    });
  const wrongFile = (got: string) =>
    new ConfigError("usage", `"--profiles" expected a JSON file, got "${given}" (${got})`);
  let text: string;
  try {
    text = readFileSync(given, "utf8");
  } catch (error) {
    throw wrongFile(inWords(error));
  }
  const json = parseJson(text, wrongFile);
  const wrong = (issue: v.InferIssue<typeof fleetFile | typeof profile>, ...kind: string[]) => {
    const path = [...kind, v.getDotPath(issue) ?? []].flat().join(".");
    const { expected, message, input } = issue;
    const wanted =
      expected === "never"
        ? `no such key, but ${["share", "preset", ...Object.keys(profile.entries)].join(", ")}`
        : message === RANGE || message === ONE_KIND || message === ATTACK
          ? message
          : expected;
    return new ConfigError(
      "usage",
      `"${path || "profiles"}" in "${given}" expected ${wanted}, got ${JSON.stringify(input)}`,
    );
  };
  const file = v.safeParse(fleetFile, json);
  if (!file.success) throw wrong(file.issues[0]);
  return Object.entries(file.output).map(([name, { share, preset = "instant", ...changes }]) => {
    const read = v.safeParse(profile, { ...PRESETS[preset], ...changes });
    if (!read.success) throw wrong(read.issues[0], name);
    return { name, share, profile: read.output };
  });
}

/**
 * The kind of device that client `index` of `count` is: shares as exact as whole clients allow,
 * kinds mixed evenly.
 */
export function profileOf(fleet: readonly Mix[], index: number): Mix {
  const total = fleet.reduce((sum, { share }) => sum + share, 0);
  // The golden ratio's multiples fill the unit interval evenly, whatever their number.
  let at = ((index * 0.6180339887498949) % 1) * total;
  for (const mix of fleet) {
    if (at < mix.share) return mix;
    at -= mix.share;
  }
  return fleet[fleet.length - 1];
}

/** A value of a range. */
export const draw = (value: number | readonly [number, number], chance: Random): number =>
  typeof value === "number" ? value : value[0] + (value[1] - value[0]) * chance.next();
