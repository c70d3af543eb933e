import type { ServerHalf } from "./algorithm.js";

/** `server.finish`, but a round in which nothing was counted leaves model and state as they are. */
export const finishRound = (
  server: ServerHalf,
  input: Parameters<ServerHalf["finish"]>[0],
): ReturnType<ServerHalf["finish"]> =>
  input.fold.count === 0 ? { global: input.global, state: input.state } : server.finish(input);
