import { get as getPlain } from "node:http";
import { get as getSecure } from "node:https";
import * as v from "valibot";

/** What an aggregator says of itself. */
export interface ServerFigures {
  readonly cpuSeconds: number;
  readonly memory: number;
  /** 99th percentile of the event loop's lag since the last question, in milliseconds. */
  readonly lag: number;
}

/** Where to ask, and how. */
interface Question {
  readonly url: string;
  readonly token?: string;
  readonly ca?: string;
}

/** What the aggregator answers at a path; nothing where it does not within so many milliseconds. */
async function answer(
  { url, token, ca }: Question,
  path: string,
  patience: number,
): Promise<string | undefined> {
  const address = new URL(path, url.replace(/^ws/, "http"));
  return new Promise<string | undefined>((resolve) => {
    const get = address.protocol === "https:" ? getSecure : getPlain;
    const headers = token ? { authorization: `Bearer ${token}` } : {};
    const signal = AbortSignal.timeout(patience);
    const request = get(address, { headers, ca, signal }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => (body += chunk));
      response.on("end", () => resolve(response.statusCode === 200 ? body : undefined));
      response.on("error", () => resolve(undefined));
    });
    request.on("error", () => resolve(undefined));
  });
}

/** What the aggregator's run waits for, in its sentence; nothing where it does not tell us. */
export async function serverWaitsFor(
  question: Question,
  patience: number,
): Promise<string | undefined> {
  const text = await answer(question, "/status", patience);
  if (text === undefined) return undefined;
  try {
    return v.parse(v.object({ waitsFor: v.string() }), JSON.parse(text)).waitsFor;
  } catch {
    return undefined;
  }
}

/**
 * Asks the aggregator's /metrics; nothing where it does not tell us within so many milliseconds.
 */
export async function serverFigures(
  question: Question,
  patience: number,
): Promise<ServerFigures | undefined> {
  const text = await answer(question, "/metrics", patience);
  if (text === undefined) return undefined;
  const value = (name: string) => Number(new RegExp(`^${name} (\\S+)$`, "m").exec(text)?.[1]);
  return {
    cpuSeconds: value("process_cpu_seconds_total"),
    memory: value("process_resident_memory_bytes"),
    lag: 1000 * value("nodejs_eventloop_lag_p99_seconds"),
  };
}
