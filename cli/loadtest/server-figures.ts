import { get as getPlain } from "node:http";
import { get as getSecure } from "node:https";

/** What an aggregator says of itself. */
export interface ServerFigures {
  readonly cpuSeconds: number;
  readonly memory: number;
  /** 99th percentile of the event loop's lag since the last question, in milliseconds. */
  readonly lag: number;
}

/** Asks the aggregator's /metrics; nothing where it does not tell us. */
export async function serverFigures(
  url: string,
  { token, ca }: { readonly token?: string; readonly ca?: string } = {},
): Promise<ServerFigures | undefined> {
  const address = new URL("/metrics", url.replace(/^ws/, "http"));
  const text = await new Promise<string | undefined>((resolve) => {
    const get = address.protocol === "https:" ? getSecure : getPlain;
    const headers = token ? { authorization: `Bearer ${token}` } : {};
    const request = get(address, { headers, ca, timeout: 5000 }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => (body += chunk));
      response.on("end", () =>
        resolve(response.statusCode === 200 ? body : undefined),
      );
      response.on("error", () => resolve(undefined));
    });
    request.on("timeout", () => request.destroy());
    request.on("error", () => resolve(undefined));
  });
  if (text === undefined) return undefined;
  const value = (name: string) =>
    Number(new RegExp(`^${name} (\\S+)$`, "m").exec(text)?.[1]);
  return {
    cpuSeconds: value("process_cpu_seconds_total"),
    memory: value("process_resident_memory_bytes"),
    lag: 1000 * value("nodejs_eventloop_lag_p99_seconds"),
  };
}
