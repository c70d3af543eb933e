import { epsilonOf, noiseFor } from "../aggregator/privacy/accountant.js";
import { renyiEpsilon } from "../aggregator/privacy/renyi.js";
import { ConfigError } from "../runtime/errors.js";
import { lineChart, type Point } from "./plots/line-chart.js";
import { savePicture } from "./plots/save.js";
import type { SettingsOf } from "./settings.js";
import { openView } from "./view.js";

/** Points of the picture. */
const POINTS = 24;

/** Of the losses in the picture, where nobody sees the difference. */
const COARSE = 1e-3;

/** `fedflat privacy`: what so many rounds with noise cost, or what noise keeps an epsilon. */
export async function privacy(settings: SettingsOf<"privacy">): Promise<void> {
  const { delta, sampling, releases: rounds, epsilon: wanted, plot } = settings;
  if ((settings.noise === undefined) === (wanted === undefined))
    throw new ConfigError("usage", `"--noise" expected it or --epsilon, one of the two`);
  const noise = settings.noise ?? upward(noiseFor(wanted!, { sampling, rounds }, delta), 10_000);
  const after = (some: number) => [{ sampling, noise, rounds: some }];
  const epsilon = epsilonOf(after(rounds), delta);
  const bound = renyiEpsilon(after(rounds), delta).epsilon;
  const view = openView(settings.json);
  const each =
    sampling === 1
      ? "every client in each"
      : `a client in each with chance ${sampling}, by a coin that only the aggregator sees`;
  const cost = `epsilon ${inDigits(epsilon)} at delta ${delta} (${inDigits(bound)} by Renyi's orders)`;
  view.say(
    "privacy",
    { noise, sampling, rounds, delta, epsilon, renyiEpsilon: bound },
    [
      wanted === undefined
        ? `Noise multiplier ${noise} over ${rounds} rounds, ${each}: ${cost}.`
        : `Epsilon ${wanted} over ${rounds} rounds, ${each}: noise multiplier ${noise}, with which it is ${cost}.`,
      "It protects all data of one client in everything that is published: each round's model. It does not protect them from the aggregator itself.",
    ].join("\n"),
  );
  const points = [...new Set(Array.from({ length: POINTS }, placeOf(rounds)))].map((x): Point => ({
    x,
    y: x === rounds ? epsilon : epsilonOf(after(x), delta, COARSE),
  }));
  const name = `noise ${noise}, sampling ${sampling}`;
  await savePicture(
    plot,
    lineChart({
      title: `Epsilon at delta ${delta}`,
      x: "rounds",
      y: "epsilon",
      series: [{ name, family: name, points }],
      fromZero: true,
    }),
  );
  view.say(
    "written",
    { files: [`${plot}.svg`, `${plot}.png`] },
    `Written: ${plot}.svg, ${plot}.png`,
  );
}

/** The i-th of the picture's rounds, from the first to the last. */
const placeOf =
  (rounds: number) =>
  (_: unknown, i: number): number =>
    Math.round(1 + ((rounds - 1) * i) / (POINTS - 1));

/** Up to the next part of one, so that what is printed keeps the epsilon. */
const upward = (x: number, parts: number): number => Math.ceil(x * parts) / parts;

/** With four digits behind the point, never less than it is. */
const inDigits = (epsilon: number): string => String(upward(epsilon, 10_000));
