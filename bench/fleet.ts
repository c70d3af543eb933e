import { execFile, fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { readAggregatorSettings, type GivenSettings } from "../aggregator/settings.js";
import { wasmArithmetic } from "../aggregator/aggregation/arithmetic.js";
import { startFleet, type FleetOptions, type RunningFleet } from "../cli/loadtest/fleet.js";
import { readFleet } from "../cli/loadtest/profile.js";
import { percentiles } from "../cli/loadtest/recording.js";
import type { Report as LoadReport } from "../cli/loadtest/report.js";
import { float32 } from "../runtime/codecs/float32.js";
import { layoutOf } from "../runtime/tensors/layout.js";
import { certificate } from "../test/connection/certificate.js";
import { here, median, takeTurns, type Figure } from "./comparison.js";
import type { ServerAnswer, ServerOrder } from "./fleet-server.js";

const run = promisify(execFile);

type Report = (figure: Figure) => void;

/** Dense networks of about 250 kB and 10 MB of weights. */
export const SMALL = [100, 600, 3];
const LARGE = [1000, 2430, 10];
const TINY = [4, 3];

const MB = 1e6;
const KB = 1e3;

interface Server {
  readonly url: string;
  ask(): Promise<ServerAnswer>;
  stop(): void;
}

export async function startServer(order: ServerOrder): Promise<Server> {
  const path = fileURLToPath(new URL("./fleet-server.js", import.meta.url));
  const child: ChildProcess = fork(path, { execArgv: ["--expose-gc"] });
  child.send(order);
  const [url] = (await once(child, "message")) as [string];
  return {
    url,
    async ask() {
      child.send("ask");
      const [answer] = (await once(child, "message")) as [ServerAnswer];
      return answer;
    },
    stop: () => child.kill("SIGKILL"),
  };
}

export const SETTINGS: GivenSettings = {
  overSelection: 1,
  evaluateFraction: 0,
  deadline: 300_000,
  gatherDeadline: 600_000,
};

export const fleetOf = (
  { url }: Server,
  clients: number,
  more: Partial<FleetOptions> = {},
): RunningFleet =>
  startFleet({
    url,
    first: 0,
    clients,
    seed: "bench",
    profiles: readFleet("instant"),
    update: { kind: "random" },
    ramp: 3 * clients,
    ...more,
  });

export async function until(what: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + 300_000;
  while (!(await what())) {
    if (performance.now() > end) throw new Error("a bench took too long");
    await setTimeout(50);
  }
}

export const atMost = (name: string, value: number, unit: string, target: number): Figure => ({
  name,
  value,
  unit,
  target: `<= ${target} ${unit}`,
  met: value <= target,
});
const atLeast = (name: string, value: number, unit: string, target: number): Figure => ({
  name,
  value,
  unit,
  target: `>= ${target} ${unit}`,
  met: value >= target,
});

const rss = () => {
  globalThis.gc?.();
  return process.memoryUsage.rss();
};

/** Idle clients: how many are held, and what each costs at both ends. */
export async function idle(report: Report, clients: number): Promise<void> {
  const server = await startServer({
    widths: TINY,
    settings: { ...SETTINGS, gather: clients + 101 },
    connections: 2 * clients,
  });
  try {
    // What is loaded and compiled on first use is not a client's.
    const first = fleetOf(server, 100, { ramp: 0 });
    await until(() => first.recording.states.idle === 100);
    await setTimeout(1000);
    const [before, mine] = [(await server.ask()).memory, rss()];
    const fleet = fleetOf(server, clients, { first: 100 });
    await until(() => fleet.recording.states.idle === clients);
    await setTimeout(2000);
    const after = await server.ask();
    const held = after.lines - 100;
    report(atLeast("idle clients held", held, "clients", clients));
    report(
      atMost(
        `server memory for each of ${clients} idle clients`,
        (after.memory - before) / clients / KB,
        "kB",
        12,
      ),
    );
    report(
      atMost(
        `load tester's memory for each of ${clients} idle clients`,
        (rss() - mine) / clients / KB,
        "kB",
        25,
      ),
    );
    const { connect } = fleet.recording.samples;
    report({
      name: "connect, p99",
      value: percentiles(connect)!.p99,
      unit: "ms",
    });
    fleet.stop();
    first.stop();
  } finally {
    server.stop();
  }
}

/** Whole rounds with random updates. */
export async function round(report: Report, clients: number, targets: boolean): Promise<void> {
  const rounds = 3;
  const server = await startServer({
    widths: SMALL,
    settings: { ...SETTINGS, gather: clients, rounds },
    connections: 2 * clients,
  });
  try {
    const before = rss();
    // All but one: the last one opens the round, when connecting is over.
    const most = fleetOf(server, clients - 1);
    await until(() => most.recording.states.idle === clients - 1);
    await server.ask();
    let peak = 0;
    const last = fleetOf(server, 1, { first: clients - 1, ramp: 0 });
    await until(() => {
      peak = Math.max(peak, process.memoryUsage.rss());
      return last.recording.finished === 1;
    });
    const answer = await server.ask();
    const name = `round of ${clients} clients, 250 kB model`;
    const seconds = median(answer.rounds.map(({ seconds }) => seconds));
    const lag = answer.lag;
    const counted = answer.counted / rounds;
    if (targets) {
      report(atMost(name, seconds, "s", 4));
      report(atMost(`${name}: lag p99`, lag, "ms", 50));
      report(atLeast(`${name}: updates counted`, counted, "updates", clients));
    } else {
      report({ name, value: seconds, unit: "s" });
      const each = (peak - before) / clients / KB;
      report(atMost(`${name}: load tester, each`, each, "kB", 25));
    }
    most.stop();
    last.stop();
  } finally {
    server.stop();
  }
}

/**
 * Updates of 10 MB on their way in, hashed, checked and folded. They are all zero: the model stays
 * the same, so that after the first round nobody has to download it, and a round is nothing but
 * ingest.
 */
export async function ingest(
  report: Report,
  clients: number,
  tls: { cert: string; key: string } | undefined,
): Promise<void> {
  const rounds = 3;
  const settings = { ...SETTINGS, gather: clients, rounds };
  const server = await startServer({
    widths: LARGE,
    settings,
    tls,
    connections: 2 * clients,
  });
  try {
    const update = zeroUpdate(LARGE);
    const fleet = fleetOf(server, clients, {
      ca: tls?.cert,
      ramp: 0,
      update: { kind: "replay", blobs: [update] },
    });
    await fleet.done;
    const { rounds: done, lag, peak, counted } = await server.ask();
    const name = `${clients} clients, 10 MB model${tls ? ", TLS" : ""}`;
    const rates = done
      .slice(1)
      .map(({ collectSeconds }) => (clients * update.length) / MB / collectSeconds);
    report(
      atLeast(
        `ingest, ${tls ? "TLS" : "plain"} (${counted} updates)`,
        median(rates),
        "MB/s",
        tls ? 140 : 220,
      ),
    );
    const { budgetBytes } = readAggregatorSettings(settings);
    const bound = (4 * update.length + budgetBytes) / MB + 100;
    report(atMost(`${name}: server's peak memory`, peak / MB, "MB", tls ? 200 : Math.round(bound)));
    report(atMost(`${name}: lag p99`, lag, "ms", 50));
    fleet.stop();
  } finally {
    server.stop();
  }
}

/**
 * What `fedflat loadtest` finds, and what a script that shares no code with it finds, each in a
 * process of its own and in turns: the median over all updates of the time from the moment a client
 * has its `assign` to the moment it has its `committed`. The third witness is the aggregator: the
 * median time of a round under each, from its opening to its commit.
 */
export async function independent(report: Report, clients: number): Promise<void> {
  // So many that the first few, in which both are still being compiled, do not decide.
  const rounds = 24;
  const path = (file: string) => fileURLToPath(new URL(`../${file}`, import.meta.url));
  const testers = {
    light: {
      command: (url: string) => [
        ...[path("cli/main.js"), "loadtest", url, "--json"],
        ...["--clients", String(clients), "--ramp", "0", "--duration", "300"],
      ],
      median: (output: string) =>
        (JSON.parse(output.trim().split("\n").pop()!) as LoadReport).times.roundTrip!.p50,
    },
    raw: {
      command: (url: string) => [...[path("test/loadtest/raw-load.js"), url, String(clients)]],
      median: (output: string) => (JSON.parse(output) as { median: number }).median,
    },
  };
  const newFound = (): Record<keyof typeof testers, number[]> => ({
    light: [],
    raw: [],
  });
  const [own, witness] = [newFound(), newFound()];
  for (let turn = 0; turn < 5; turn++)
    for (const kind of ["light", "raw"] as const) {
      const server = await startServer({
        widths: SMALL,
        settings: { ...SETTINGS, gather: clients, rounds },
        connections: 2 * clients,
      });
      try {
        const { command, median } = testers[kind];
        const { stdout } = await run(process.execPath, command(server.url));
        own[kind].push(median(stdout) / 1000);
        const { rounds: done } = await server.ask();
        witness[kind].push(...done.map(({ seconds }) => seconds));
      } finally {
        server.stop();
      }
    }
  for (const [name, found, aimed] of [
    [`round of ${clients} clients, as the load tester finds it`, own, true],
    // Another quantity: whole rounds, under the load that each tester puts on the machine.
    [`the same rounds, as the aggregator finds them`, witness, false],
  ] as const) {
    const [value, baselineValue] = [median(found.light), median(found.raw)];
    const ratio = value / baselineValue;
    report({
      name,
      value,
      unit: "s",
      baseline: "independent script",
      baselineValue,
      ratio,
      ...(aimed && {
        target: "within 10 %",
        met: Math.abs(ratio - 1) <= 0.1,
      }),
    });
  }
}

function zeroUpdate([inputs, ...units]: readonly number[]): Uint8Array {
  const parameters = units.flatMap((count, layer) => [
    {
      name: `${layer}.kernel`,
      shape: [layer === 0 ? inputs : units[layer - 1], count],
    },
    { name: `${layer}.bias`, shape: [count] },
  ]);
  const { header, bytes } = float32.form(layoutOf(parameters), ["delta"]);
  const update = new Uint8Array(bytes);
  update.set(header);
  return update;
}

/** The fold of one update that lies in no cache, against a copy, by bytes touched. */
export async function fold(report: Report): Promise<void> {
  const size = 8 * 1024 * 1024;
  const arithmetic = await wasmArithmetic();
  const x = new Float32Array(size).fill(0.5);
  const [sum] = arithmetic.sums(size, 1);
  const from = new Float64Array(size).fill(1);
  const to = new Float64Array(size);
  const times = await takeTurns([
    here("fold", () => arithmetic.fold(sum, x, 3, 1.5 * 2 ** 32)),
    here("copy", () => to.set(from)),
  ]);
  // The fold reads four and eight bytes for each number and writes eight, the copy reads and writes
  // eight.
  const rate = (bytes: number, milliseconds: number) => (bytes * size) / milliseconds / 1e6;
  const value = rate(20, times.fold);
  const baselineValue = rate(16, times.copy);
  report({
    name: "fold of one float32 update, out of cache",
    value,
    unit: "GB/s",
    baseline: "copy",
    baselineValue,
    ratio: value / baselineValue,
    target: ">= 0.7 x",
    met: value >= 0.7 * baselineValue,
  });
}

/** One aggregator in a process of its own, and light clients in this one, over loopback. */
export async function compare(report: Report): Promise<void> {
  await fold(report);
  await round(report, 1000, true);
  await round(report, 2000, false);
  await independent(report, 200);
  await ingest(report, 100, undefined);
  const tls = certificate();
  if (tls !== undefined) await ingest(report, 100, tls);
  else console.error("no openssl here: the figures over TLS are left out");
  await idle(report, 10_000);
}
