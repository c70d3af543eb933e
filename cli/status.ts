import * as v from "valibot";
import { ConfigError, FedflatError } from "../runtime/errors.js";
import { printable } from "../runtime/protocol/printable.js";
import type { SettingsOf } from "./settings.js";
import { openView } from "./view.js";

/** Words of clients, on their way to a terminal. */
const words = v.pipe(v.string(), v.transform(printable));

const Status = v.object({
  committed: v.number(),
  rounds: v.number(),
  waitsFor: words,
  clients: v.array(
    v.object({
      id: words,
      connected: v.boolean(),
      state: words,
      samples: v.nullable(v.number()),
    }),
  ),
});

/** `fedflat status URL`: what an aggregator on this machine waits for, and its clients. */
export async function status({ aggregator: address, json }: SettingsOf<"status">): Promise<void> {
  const url = new URL("/status", address.replace(/^ws/, "http"));
  const fail = (got: string): never => {
    throw new ConfigError(
      "usage",
      `"aggregator" expected an aggregator that tells its status at ${url.href} (its loopback or health port), got ${got}`,
    );
  };
  let response: Response;
  try {
    response = await fetch(url, { signal: AbortSignal.timeout(10_000) });
  } catch (error) {
    const cause = error instanceof Error ? (error.cause ?? error) : error;
    throw new FedflatError(
      "unreachable",
      `"aggregator" expected an aggregator at ${url.host}, got ${cause instanceof Error ? cause.message : String(cause)}`,
    );
  }
  if (response.status === 503)
    throw new FedflatError(
      "not-begun",
      `"aggregator" expected a run that has begun, got one that still starts`,
    );
  if (!response.ok) fail(`the answer ${response.status}`);
  const read = v.safeParse(Status, await response.json().catch(() => undefined));
  if (!read.success) return fail("an answer of another form");
  const { committed, rounds, waitsFor, clients } = read.output;
  const view = openView(json);
  view.say("status", read.output, `${committed} of ${rounds} rounds are committed. ${waitsFor}`);
  if (json) return;
  for (const { id, connected, state, samples } of clients)
    view.say(
      "client",
      { id },
      `${id.slice(0, 16)} ${connected ? "connected" : "away"}, ${state}, ${samples ?? "unknown"} samples`,
    );
}
