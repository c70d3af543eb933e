import { monitorEventLoopDelay } from "node:perf_hooks";
import { Aggregator } from "../aggregator/run/aggregator.js";
import { keepYoungSmall } from "../aggregator/memory.js";
import { listen } from "../aggregator/server/server.js";
import type { GivenSettings } from "../aggregator/settings.js";
import { openMetrics } from "../cli/metrics.js";
import { parseDescription } from "../runtime/models/description.js";
import { initialWeights } from "../runtime/models/initial.js";
import { networkOf } from "../runtime/models/network.js";

// The aggregator of bench/fleet.ts, in a process of its own: told what to serve, it answers what is
// asked of it.

export interface ServerOrder {
  /** Dense layers, from the inputs to the classes. */
  readonly widths: readonly number[];
  readonly settings: GivenSettings;
  readonly tls?: { readonly cert: string; readonly key: string };
  readonly connections: number;
}

export interface CommittedRound {
  readonly seconds: number;
  readonly collectSeconds: number;
  /** When it was committed, and the processor time until then, both in seconds. */
  readonly at: number;
  readonly cpu: number;
}

export interface ServerAnswer {
  readonly memory: number;
  readonly peak: number;
  /** Processor time so far, in seconds. */
  readonly cpu: number;
  /** 99th percentile of the event loop's lag in milliseconds since it was last asked. */
  readonly lag: number;
  readonly rounds: readonly CommittedRound[];
  readonly counted: number;
  readonly lines: number;
}

const RESOLUTION = 2;

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

process.once("message", async (order: ServerOrder) => {
  // As `fedflat serve` does, here and when it has started.
  keepYoungSmall();
  const [inputs, ...units] = order.widths;
  const description = parseDescription({
    input: [inputs],
    layers: units.map((units) => ({ type: "dense", units })),
  });
  const network = networkOf(description);
  const aggregator = await Aggregator.open({
    model: {
      description,
      layout: network.layout,
      weights: initialWeights(network, "1"),
      classes: Array.from({ length: units.at(-1)! }, (_, i) => `class ${i}`),
    },
    settings: order.settings,
  });
  const rounds: CommittedRound[] = [];
  let counted = 0;
  aggregator.on("round", (_line, { seconds, collectSeconds }) =>
    rounds.push({
      seconds,
      collectSeconds,
      at: performance.now() / 1000,
      cpu: cpuSeconds(),
    }),
  );
  aggregator.on("counted", () => counted++);
  keepYoungSmall();
  const { tls, connections } = order;
  const server = await listen(aggregator, {
    port: 0,
    metrics: openMetrics(aggregator),
    tls,
    connections,
  });
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION });
  delay.enable();
  process.on("message", () => {
    const cpu = cpuSeconds();
    globalThis.gc?.();
    process.send!({
      cpu,
      memory: process.memoryUsage.rss(),
      peak: 1024 * process.resourceUsage().maxRSS,
      lag: Math.max(0, delay.percentile(99) / 1e6 - RESOLUTION),
      rounds,
      counted,
      lines: aggregator.load().connections,
    } satisfies ServerAnswer);
    delay.reset();
  });
  process.send!(server.url);
});
