const FIRST = 500;
const LONGEST = 60_000;

/**
 * Milliseconds to wait before dialling again after so many failures in a row: full jitter, so that
 * a fleet which lost its server at one moment does not come back at one moment. `chance` is uniform
 * in [0, 1).
 */
export const backOff = (failures: number, chance: number): number =>
  chance * Math.min(LONGEST, FIRST * 2 ** Math.min(failures, 30));
