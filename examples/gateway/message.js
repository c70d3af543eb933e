/** Samples of a window and numbers of a sample: what the network takes. */
export const SHAPE = [128, 9];
const SIZE = SHAPE[0] * SHAPE[1];

/**
 * Reads a message: {"window": [[9 numbers], ... 128 of them], "activity": "WALKING"}, without `activity` where nobody knows it.
 * @returns the numbers end to end as a Float32Array, and the activity
 */
export function parseMessage(text) {
  const { window, activity } = JSON.parse(text);
  const numbers = Array.isArray(window) ? window.flat() : [];
  const values = Float32Array.from(numbers);
  if (values.length !== SIZE || !values.every(Number.isFinite))
    throw new Error(`"window" expected ${SHAPE.join(" x ")} numbers`);
  if (activity !== undefined && !(typeof activity === "string" && /^[ -~]{1,31}$/.test(activity)))
    throw new Error(`"activity" expected a name of 1 to 31 ASCII characters`);
  return { values, activity };
}
