import { SECURE_PHASES } from "../../aggregator/rounds/participants.js";
import { lineChart, type Series } from "../plots/line-chart.js";
import { escaped } from "../plots/svg.js";
import { wrapped } from "../view.js";
import {
  FAULTS,
  FIGURES,
  percentiles,
  type Fault,
  STATES,
  type Figure,
  type Percentiles,
  type Recording,
  type Activity,
} from "./recording.js";
import type { ServerFigures } from "./server-figures.js";

/** The figures at one moment of a load test. */
export interface Moment {
  /** Seconds since it began. */
  readonly seconds: number;
  readonly states: Readonly<Record<Activity, number>>;
  readonly counted: number;
  /** Of this process. */
  readonly memory: number | undefined;
  readonly server: ServerFigures | undefined;
}

/** What was asked for. */
export interface LoadRequest {
  readonly url: string;
  readonly clients: number;
  /** As on the command line. */
  readonly profiles: string;
  readonly update: string;
  readonly seed: number;
  /** When it began, ISO 8601. */
  readonly begun: string;
}

/** The result of a load test. Times in milliseconds, memory in bytes. */
export interface Report extends LoadRequest {
  readonly seconds: number;
  /** Clients that had dialled in this time. */
  readonly arrived: number;
  readonly rounds: number;
  readonly updates: number;
  readonly updatesPerSecond: number;
  /** Bytes of updates in the model, and of models fetched, a second. */
  readonly uploadRate: number;
  readonly downloadRate: number;
  /**
   * What the profiles asked for: drop-outs, and faulty updates that were answered as they should
   * be.
   */
  readonly faults: Readonly<Record<Fault, number>>;
  /** Other refusals, by the protocol's code. */
  readonly refused: Readonly<Record<string, number>>;
  readonly errors: Readonly<Record<string, number>>;
  readonly times: Readonly<Partial<Record<Figure, Percentiles>>>;
  /** Bytes of the phases of secure rounds, and answers of clients. */
  readonly phases: Recording["phases"];
  /**
   * Cores used, and the most memory, of this process and, where it tells us, of the aggregator's.
   */
  readonly client: Usage;
  readonly server: ServerUsage | undefined;
  /** What the run waits for in the end, where it has committed no round. */
  readonly waitsFor: string | undefined;
}

interface ServerUsage extends Usage {
  /** Of the worst second. */
  readonly lagP99: number;
  /** Seconds at the end in which it did not answer. */
  readonly silence: number;
}

interface Usage {
  readonly cores: number;
  readonly memory: number;
}

export function reportOf(
  load: LoadRequest,
  recording: Recording,
  moments: readonly Moment[],
  cpuSeconds: number,
  waitsFor?: string,
): Report {
  const seconds = moments.at(-1)?.seconds ?? 0;
  const told = moments.flatMap(({ server }) => server ?? []);
  const answered = moments.findLast(({ server }) => server !== undefined);
  const most = (values: readonly number[]) => values.reduce((a, b) => Math.max(a, b), 0);
  const times: Partial<Record<Figure, Percentiles>> = {};
  for (const figure of FIGURES) {
    const found = percentiles(recording.samples[figure]);
    if (found !== undefined) times[figure] = found;
  }
  return {
    ...load,
    seconds,
    arrived: recording.arrived,
    rounds: recording.rounds,
    updates: recording.counted,
    updatesPerSecond: recording.counted / seconds,
    uploadRate: recording.countedBytes / seconds,
    downloadRate: recording.modelBytes / seconds,
    faults: recording.faults,
    refused: recording.refused,
    errors: recording.errors,
    times,
    phases: recording.phases,
    client: {
      cores: cpuSeconds / seconds,
      memory: most(moments.flatMap(({ memory }) => memory ?? [])),
    },
    server:
      told.length < 2
        ? undefined
        : {
            cores: (told.at(-1)!.cpuSeconds - told[0].cpuSeconds) / seconds,
            memory: most(told.map(({ memory }) => memory)),
            // The first answer is about the time before.
            lagP99: most(told.slice(1).map(({ lag }) => lag)),
            silence: seconds - answered!.seconds,
          },
    waitsFor,
  };
}

const NAMES: Readonly<Record<Figure, string>> = {
  connect: "connect (dial to welcome)",
  download: "download of the model",
  train: "training",
  upload: "upload (offer to received)",
  keys: "phase keys of a secure round",
  shares: "phase shares",
  masked: "phase masked",
  verify: "phase verify",
  unmask: "phase unmask",
  roundTrip: "round trip (assigned to committed)",
};

/** A time for people: three digits and their unit. */
export function duration(milliseconds: number): string {
  if (milliseconds < 999.5) return `${milliseconds.toFixed(milliseconds < 9.95 ? 1 : 0)} ms`;
  const seconds = milliseconds / 1000;
  return `${seconds.toFixed(seconds < 9.995 ? 2 : seconds < 999.95 ? 1 : 0)} s`;
}

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
const size = (bytes: number) =>
  bytes < 1e6 ? `${(bytes / 1e3).toFixed(bytes < 1e4 ? 1 : 0)} kB` : megabytes(bytes);
const rate = (bytes: number) => `${size(bytes)}/s`;

export const plural = (count: number, noun: string): string =>
  `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

const FAULT_NAMES: Readonly<Record<Fault, string>> = {
  dropOut: "drop-out",
  late: "late update",
  duplicate: "duplicate update",
  shape: "misshapen update",
  nan: "NaN update",
};

/** Kinds and how many of each, the most frequent first: at most so many kinds. */
export function kindsOf(counts: Readonly<Record<string, number>>, most = Infinity): string {
  const sorted = Object.entries(counts).sort(([, a], [, b]) => b - a);
  const rest = sorted.splice(most).reduce((sum, [, count]) => sum + count, 0);
  return [
    ...sorted.map(([kind, count]) => `${kind} (${count})`),
    ...(rest > 0 ? [`others (${rest})`] : []),
  ].join(", ");
}

const HEAD = ["count", "p50", "p95", "p99", "max"];
/** Name, count and times of each figure. */
const rowsOf = ({ times }: Report): [string, string[]][] =>
  FIGURES.flatMap((figure) => {
    const found = times[figure];
    if (found === undefined) return [];
    const { count, p50, p95, p99, max } = found;
    return [[NAMES[figure], [String(count), ...[p50, p95, p99, max].map(duration)]]];
  });

/** What to do where errors of a kind come. */
const HINTS: readonly (readonly [part: string, hint: string])[] = [
  [
    "EMFILE",
    "EMFILE: this process may not open so many connections; raise its limit, as with ulimit -n.",
  ],
  [
    "ended: replaced",
    "Replaced: somebody else came with the same keys; give each load test of one aggregator a --seed of its own.",
  ],
];

/** What a client sends and is sent in a secure round, in a sentence. */
function trafficOf(phases: Report["phases"]): string[] {
  const each = SECURE_PHASES.flatMap((phase) => {
    const { answers, up, down } = phases[phase];
    return answers === 0 ? [] : [`${phase} ${size(up / answers)} up, ${size(down / answers)} down`];
  });
  return each.length === 0 ? [] : [`A client of a secure round: ${each.join("; ")}.`];
}

/** The sentences of a report. */
function sentences(report: Report): string[] {
  const { client, server, faults, refused, errors, updatesPerSecond } = report;
  const asked = FAULTS.filter((fault) => faults[fault] > 0).map((fault) =>
    plural(faults[fault], FAULT_NAMES[fault]),
  );
  return [
    `${report.arrived < report.clients ? `${report.arrived.toLocaleString("en")} of ` : ""}${plural(report.clients, "client")} (${report.profiles}; ${report.update} updates; seed ${report.seed}) for ${report.seconds.toFixed(1)} s: ${plural(report.rounds, "round")} and ${plural(report.updates, "update")} (${updatesPerSecond.toFixed(updatesPerSecond < 10 ? 2 : 0)} a second); up ${rate(report.uploadRate)}, down ${rate(report.downloadRate)}.`,
    `Load tester: ${client.cores.toFixed(2)} cores, ${megabytes(client.memory)}.`,
    server === undefined
      ? "No figures of the aggregator: it told its metrics less than twice."
      : `Aggregator: ${server.cores.toFixed(2)} cores, ${megabytes(server.memory)}, event-loop lag p99 ${duration(server.lagP99)} in the worst second${server.silence >= 2 ? `; no answer in the last ${server.silence.toFixed(0)} s` : ""}.`,
    ...trafficOf(report.phases),
    ...(report.waitsFor === undefined
      ? []
      : [`No round was committed. The aggregator says: ${report.waitsFor}`]),
    ...(asked.length > 0 ? [`As the profiles ask: ${asked.join(", ")}.`] : []),
    ...(Object.keys(refused).length > 0 ? [`Refused by the aggregator: ${kindsOf(refused)}.`] : []),
    Object.keys(errors).length === 0 ? "No errors." : `Errors: ${kindsOf(errors)}.`,
    ...HINTS.filter(([part]) => Object.keys(errors).some((kind) => kind.includes(part))).map(
      ([, hint]) => hint,
    ),
  ];
}

/** A report for people, in lines of at most so many characters, from 40 on. */
export function textOf(report: Report, columns: number): string {
  const rows = rowsOf(report);
  const label = Math.max(...Object.values(NAMES).map((name) => name.length));
  const cells = (cells: readonly string[]) =>
    cells.map((cell, i) => cell.padStart(i === 0 ? 6 : 8)).join("");
  // 6 + 4 * 8 characters of figures, and their name before them or on a line of its own.
  const table =
    columns >= label + 38
      ? [
          " ".repeat(label) + cells(HEAD),
          ...rows.map(([name, row]) => name.padEnd(label) + cells(row)),
        ]
      : [cells(HEAD), ...rows.flatMap(([name, row]) => [name, cells(row)])];
  return [
    ...sentences(report).flatMap((sentence) => wrapped(sentence, columns)),
    ...(rows.length > 0 ? ["", ...table] : []),
  ].join("\n");
}

/** Points of a line that are drawn, at most. */
const POINTS = 200;

/** A value on the axis of times. */
const tick = (milliseconds: number) =>
  milliseconds < 1000 ? `${milliseconds} ms` : `${milliseconds / 1000} s`;

/** A report as one file that needs nothing else: the table, and plots. */
export function htmlOf(report: Report, recording: Recording, moments: readonly Moment[]): string {
  const every = Math.ceil(moments.length / POINTS);
  /** The largest value of the moments that one point stands for. */
  const over = (name: string, pick: (moment: Moment) => number | undefined): Series => ({
    name,
    family: name,
    points: Array.from({ length: Math.ceil(moments.length / every) }, (_, i) =>
      moments.slice(i * every, (i + 1) * every),
    ).flatMap((some) => {
      const values = some.flatMap((moment) => pick(moment) ?? []);
      return values.length === 0 ? [] : [{ x: some.at(-1)!.seconds, y: Math.max(...values) }];
    }),
  });
  const distribution = FIGURES.filter((figure) => report.times[figure]).map((figure): Series => {
    const sorted = Float64Array.from(recording.samples[figure]).sort();
    const points = Array.from({ length: POINTS + 1 }, (_, i) => ({
      // A logarithmic axis has no zero.
      x: Math.max(0.1, sorted[Math.round((i / POINTS) * (sorted.length - 1))]),
      y: (100 * i) / POINTS,
    }));
    return { name: NAMES[figure], family: figure, points };
  });
  const seconds = "seconds since the start";
  const charts = [
    {
      title: "Clients by what they are at",
      x: seconds,
      y: "clients",
      series: STATES.map((state) => over(state, ({ states }) => states[state])),
    },
    {
      title: "Updates in the model",
      x: seconds,
      y: "updates",
      series: [over("updates", ({ counted }) => counted)],
    },
    {
      title: "How long things took",
      x: "time, on a logarithmic scale",
      y: "percent that took at most this",
      series: distribution,
      logarithmic: tick,
    },
    {
      title: "Memory",
      x: seconds,
      y: "MB",
      series: [
        over("load tester", ({ memory }) => memory && memory / 1e6),
        over("aggregator", ({ server }) => server && server.memory / 1e6),
      ],
    },
    {
      title: "Event-loop lag of the aggregator",
      x: seconds,
      y: "ms, 99th percentile of each second",
      series: [over("aggregator", ({ server }) => server?.lag)],
    },
  ].flatMap(({ series, ...chart }) => {
    const drawn = series.filter(({ points }) => points.length > 0);
    return drawn.length === 0
      ? []
      : lineChart({ ...chart, series: drawn, narrow: true, fromZero: true });
  });
  const row = (cells: readonly string[], tag: string) =>
    `<tr>${cells.map((cell) => `<${tag}>${escaped(cell)}</${tag}>`).join("")}</tr>`;
  const rows = rowsOf(report);
  const title = `Load test of ${escaped(report.url)}`;
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${title}</title>
<style>${STYLE}</style>
<h1>${title}</h1>
<p>${report.begun.slice(0, 19).replace("T", " ")} UTC</p>
${sentences(report)
  .map((sentence) => `<p>${escaped(sentence)}</p>`)
  .join("\n")}
${rows.length === 0 ? "" : `<table>${row(["", ...HEAD], "th")}${rows.map(([name, cells]) => row([name, ...cells], "td")).join("")}</table>`}
<main>
${charts.join("\n")}</main>
</html>
`;
}

/** The charts are drawn for white paper: in the dark, the page's colours go before their own. */
const STYLE = `
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em}
h1{overflow-wrap:anywhere;line-height:1.2}
p{margin:.4em 0}
table{border-collapse:collapse;margin:1em 0}
td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #8886;white-space:nowrap}
td:first-child{padding-left:0;text-align:left;white-space:normal}
main{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:1em}
svg{width:100%;height:auto}
@media(max-width:600px){td,th{padding:.2em 0 .2em .5em;font-size:13px}}
@media(prefers-color-scheme:dark){
body{background:#14181d;color:#e6e9ed}
svg>rect{fill:none}
svg text{fill:#e6e9ed}
svg line{stroke:#2f3740}
svg path[stroke="#0072b2"]{stroke:#7c96ff}
svg path[fill="#0072b2"]{fill:#7c96ff}
}`;
