import type { ClientHalf } from "../../runtime/algorithms/algorithm.js";

/**
 * Whether clients keep what they sent, or what was left out of it, so that nobody else may change
 * it. A model of their own, which is not sent, is neither.
 */
export const keepsSent = ({ state, personal }: ClientHalf): boolean =>
  state.some((name) => personal === undefined || name !== "personal");
