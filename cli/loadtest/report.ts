import Table from "cli-table3";
import { lineChart, type Series } from "../plots/line-chart.js";
import {
  FIGURES,
  percentiles,
  STATES,
  type Figure,
  type Percentiles,
  type Recording,
  type State,
} from "./recording.js";
import type { ServerFigures } from "./server-figures.js";

/** How things stood at one moment of a load test. */
export interface Moment {
  /** Seconds since it began. */
  readonly seconds: number;
  readonly states: Readonly<Record<State, number>>;
  readonly counted: number;
  readonly memory: number;
  readonly server: ServerFigures | undefined;
}

/** What came of a load test. Times in milliseconds, memory in bytes. */
export interface Report {
  readonly url: string;
  readonly clients: number;
  readonly seconds: number;
  readonly rounds: number;
  readonly updates: number;
  readonly updatesPerSecond: number;
  /** Bytes of updates in the model, and of models fetched, a second. */
  readonly uploadRate: number;
  readonly downloadRate: number;
  readonly errors: Readonly<Record<string, number>>;
  readonly times: Readonly<Partial<Record<Figure, Percentiles>>>;
  /** Cores used, and the most memory, of this process and, where it tells us, of the aggregator's. */
  readonly client: Usage;
  readonly server:
    | (Usage & { /** Of the worst second. */ readonly lagP99: number })
    | undefined;
}

interface Usage {
  readonly cores: number;
  readonly memory: number;
}

export function reportOf(
  { url, clients }: { readonly url: string; readonly clients: number },
  recording: Recording,
  moments: readonly Moment[],
  cpuSeconds: number,
): Report {
  const seconds = moments.at(-1)?.seconds ?? 0;
  const told = moments.flatMap(({ server }) => server ?? []);
  const most = (values: readonly number[]) =>
    values.reduce((a, b) => Math.max(a, b), 0);
  const times: Partial<Record<Figure, Percentiles>> = {};
  for (const figure of FIGURES) {
    const found = percentiles(recording.samples[figure]);
    if (found !== undefined) times[figure] = found;
  }
  return {
    url,
    clients,
    seconds,
    rounds: recording.rounds,
    updates: recording.counted,
    updatesPerSecond: recording.counted / seconds,
    uploadRate: recording.countedBytes / seconds,
    downloadRate: recording.modelBytes / seconds,
    errors: recording.errors,
    times,
    client: {
      cores: cpuSeconds / seconds,
      memory: most(moments.map(({ memory }) => memory)),
    },
    server:
      told.length < 2
        ? undefined
        : {
            cores: (told.at(-1)!.cpuSeconds - told[0].cpuSeconds) / seconds,
            memory: most(told.map(({ memory }) => memory)),
            // The first answer is about the time before.
            lagP99: most(told.slice(1).map(({ lag }) => lag)),
          },
  };
}

const NAMES: Readonly<Record<Figure, string>> = {
  connect: "connect (dial to welcome)",
  download: "download of the model",
  train: "training",
  upload: "upload (offer to received)",
  roundTrip: "round trip (assigned to committed)",
};

const milliseconds = (value: number) =>
  value >= 10_000
    ? `${(value / 1000).toFixed(1)} s`
    : `${value.toFixed(value < 10 ? 1 : 0)} ms`;
const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;

const plural = (count: number, noun: string) =>
  `${count} ${noun}${count === 1 ? "" : "s"}`;

const HEAD = ["", "count", "p50", "p95", "p99", "max"];
const rowsOf = ({ times }: Report): string[][] =>
  FIGURES.flatMap((figure) => {
    const found = times[figure];
    return found === undefined
      ? []
      : [
          [
            NAMES[figure],
            String(found.count),
            ...[found.p50, found.p95, found.p99, found.max].map(milliseconds),
          ],
        ];
  });

/** The sentences of a report. */
function sentences(report: Report): string[] {
  const { client, server, errors } = report;
  return [
    `${plural(report.clients, "client")} for ${report.seconds.toFixed(1)} s: ${plural(report.rounds, "round")} and ${plural(report.updates, "update")} (${report.updatesPerSecond.toFixed(1)} a second); up ${megabytes(report.uploadRate)}/s, down ${megabytes(report.downloadRate)}/s.`,
    `Load tester: ${client.cores.toFixed(2)} cores, ${megabytes(client.memory)}.`,
    server === undefined
      ? "The aggregator does not tell its metrics to us."
      : `Aggregator: ${server.cores.toFixed(2)} cores, ${megabytes(server.memory)}, event-loop lag p99 ${milliseconds(server.lagP99)} in the worst second.`,
    Object.keys(errors).length === 0
      ? "No errors."
      : `Errors: ${Object.entries(errors)
          .map(([kind, count]) => `${kind} ${count}`)
          .join(", ")}.`,
  ];
}

/** A report for people at a terminal. */
export function textOf(report: Report): string {
  const rows = rowsOf(report);
  if (rows.length === 0) return sentences(report).join("\n");
  const table = new Table({
    head: HEAD,
    style: { head: [], border: [] },
    colAligns: HEAD.map((_, i) => (i === 0 ? "left" : "right")),
  });
  table.push(...rows);
  return [...sentences(report), table.toString()].join("\n");
}

const escaped = (text: string) =>
  text.replace(
    /[&<>"]/g,
    (letter) =>
      ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[letter]!,
  );

/** Points of a distribution that are drawn. */
const POINTS = 200;

/** A report as one file that needs nothing else: the table, and plots. */
export function htmlOf(
  report: Report,
  recording: Recording,
  moments: readonly Moment[],
): string {
  const over = (
    name: string,
    pick: (moment: Moment) => number | undefined,
  ): Series => ({
    name,
    family: name,
    points: moments.flatMap((moment) => {
      const y = pick(moment);
      return y === undefined ? [] : [{ x: moment.seconds, y }];
    }),
  });
  const distribution = FIGURES.filter((figure) => report.times[figure]).map(
    (figure): Series => {
      const sorted = Float64Array.from(recording.samples[figure]).sort();
      const points = Array.from({ length: POINTS + 1 }, (_, i) => ({
        x: Math.log10(
          Math.max(0.1, sorted[Math.round((i / POINTS) * (sorted.length - 1))]),
        ),
        y: (100 * i) / POINTS,
      }));
      return { name: NAMES[figure], family: figure, points };
    },
  );
  const seconds = "seconds since the start";
  const charts = [
    lineChart({
      title: "Clients by what they are at",
      x: seconds,
      y: "clients",
      series: STATES.map((state) => over(state, ({ states }) => states[state])),
    }),
    lineChart({
      title: "Updates in the model",
      x: seconds,
      y: "updates",
      series: [over("updates", ({ counted }) => counted)],
    }),
    lineChart({
      title: "How long things took",
      x: "log10 of milliseconds",
      y: "percent that took at most this",
      series: distribution,
    }),
    lineChart({
      title: "Memory",
      x: seconds,
      y: "MB",
      series: [
        over("load tester", ({ memory }) => memory / 1e6),
        over("aggregator", ({ server }) => server && server.memory / 1e6),
      ],
    }),
    lineChart({
      title: "Event-loop lag of the aggregator",
      x: seconds,
      y: "ms, 99th percentile of each second",
      series: [over("aggregator", ({ server }) => server?.lag)],
    }),
  ];
  const row = (cells: readonly string[], tag: string) =>
    `<tr>${cells.map((cell) => `<${tag}>${escaped(cell)}</${tag}>`).join("")}</tr>`;
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Load test of ${escaped(report.url)}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em}table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #ccc}td:first-child{text-align:left}svg{max-width:100%;height:auto;background:#fff}</style>
<h1>Load test of ${escaped(report.url)}</h1>
${sentences(report)
  .map((sentence) => `<p>${escaped(sentence)}</p>`)
  .join("\n")}
<table>${row(HEAD, "th")}${rowsOf(report)
    .map((cells) => row(cells, "td"))
    .join("")}</table>
${charts.join("\n")}
</html>
`;
}
