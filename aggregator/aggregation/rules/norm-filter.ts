import { distancesFrom, meanOf, medianOf, type Rule } from "./rule.js";

/** The mean without updates whose norm is more than `factor` times the median norm. */
export const normFilter: Rule = {
  name: "norm-filter",
  source: "a rule of thumb; it passes whatever has a plausible norm",
  purpose: "accidents, such as a diverged client; not attackers",
  defaults: { factor: 3 },
  condition: "f = 0",
  least: (hostile) => (hostile === 0 ? 1 : Infinity),
  needsHostile: false,
  refuses: ({ factor }) =>
    factor >= 1 ? undefined : `"factor" expected a number from 1, got ${factor}`,
  streams: () => undefined,
  keepsCentre: false,
  combine(round) {
    const norms = distancesFrom(round, new Float64Array(round.rows[0].length));
    const most = round.settings["factor"] * medianOf(norms);
    const picks = norms.flatMap((norm, i) => (norm <= most ? [i] : []));
    return { outcome: meanOf(round, picks), picks };
  },
};
