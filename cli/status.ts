import { once } from "node:events";
import { get as getPlain, type IncomingMessage } from "node:http";
import { get as getSecure, type RequestOptions } from "node:https";
import { text } from "node:stream/consumers";
import * as v from "valibot";
import { ConfigError, FedflatError } from "../runtime/errors.js";
import { printable } from "../runtime/protocol/printable.js";
import type { SettingsOf } from "./settings.js";
import { readTls, readToken } from "./token.js";
import { openView } from "./view.js";

/** Words of clients, on their way to a terminal. */
const words = v.pipe(v.string(), v.transform(printable));

const Status = v.object({
  committed: v.number(),
  rounds: v.number(),
  waitsFor: words,
  bears: words,
  privacy: v.optional(v.object({ epsilon: v.number(), delta: v.number() })),
  statistics: v.optional(
    v.object({
      count: v.number(),
      mean: v.array(v.number()),
      deviation: v.array(v.number()),
      remarks: v.array(words),
    }),
  ),
  clients: v.array(
    v.object({
      id: words,
      connected: v.boolean(),
      state: words,
      samples: v.nullable(v.number()),
    }),
  ),
});

/** Where to ask: without a scheme http on this machine, https elsewhere. */
export function statusUrl(address: string): URL {
  const isHere = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:|\/|$)/i.test(address);
  const full = address.includes("://") ? address : `${isHere ? "http" : "https"}://${address}`;
  return new URL("/status", full.replace(/^ws/, "http"));
}

/** Milliseconds in which an aggregator answers. */
const PATIENCE = 10_000;

async function ask(
  url: URL,
  options: RequestOptions,
): Promise<{ readonly code: number; readonly body: string }> {
  const get = url.protocol === "https:" ? getSecure : getPlain;
  const signal = AbortSignal.timeout(PATIENCE);
  const request = get(url, { ...options, signal, agent: false });
  const [response] = (await once(request, "response")) as [IncomingMessage];
  return { code: response.statusCode ?? 0, body: await text(response) };
}

/** `fedflat status URL`: what an aggregator waits for, and its clients. */
export async function status(settings: SettingsOf<"status">): Promise<void> {
  const { aggregator: address, tokenFile, json } = settings;
  const url = statusUrl(address);
  const fail = (got: string): never => {
    throw new ConfigError(
      "usage",
      `"aggregator" expected an aggregator that tells its status at ${url.href}, got ${got}`,
    );
  };
  const tls = await readTls(settings);
  const token = tokenFile && (await readToken(tokenFile));
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const { code, body } = await ask(url, { ...tls, headers }).catch((error: unknown) => {
    const isLate = error instanceof Error && error.name === "AbortError";
    const got = isLate ? `no answer in ${PATIENCE / 1000} s` : reasonOf(error);
    throw new FedflatError(
      "unreachable",
      `"aggregator" expected an aggregator at ${url.origin}, got ${got}`,
    );
  });
  if (code === 503)
    throw new FedflatError(
      "not-begun",
      `"aggregator" expected a run that has begun, got one that still starts`,
    );
  if (code === 401)
    fail(
      token === undefined
        ? "one that asks for a token: give --token-file with the one of serve's --token-file or --admin-token-file, or ask its --health-port"
        : "one that does not know the token in --token-file",
    );
  if (code !== 200) fail(`the answer ${code}`);
  const read = v.safeParse(Status, parsed(body));
  if (!read.success) return fail("an answer of another form");
  const { committed, rounds, waitsFor, bears, statistics, clients } = read.output;
  const view = openView(json);
  view.say(
    "status",
    read.output,
    `${committed} of ${rounds} rounds are committed. ${waitsFor}\n${bears}`,
  );
  if (json) return;
  for (const remark of statistics?.remarks ?? []) view.say("statistics", {}, remark);
  for (const { id, connected, state, samples } of clients)
    view.say(
      "client",
      { id },
      `${id.slice(0, 16)} ${connected ? "connected" : "away"}, ${state}, ${samples ?? "unknown"} samples`,
    );
}

const reasonOf = (error: unknown): string =>
  error instanceof Error
    ? error.message || String((error as NodeJS.ErrnoException).code)
    : String(error);

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}
