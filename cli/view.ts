import { MultiBar, type SingleBar } from "cli-progress";
import Table from "cli-table3";
import type { Spread } from "../aggregator/run/spread.js";
import {
  METRICS,
  metricText,
  type MetricName,
  type MetricValues,
} from "../runtime/models/metrics/built-in.js";
import { figureText } from "../runtime/models/figure-text.js";
import { printable, printableJson, printableLines } from "../runtime/protocol/printable.js";
import { counted } from "./counted.js";

/** What a finished round has to show. */
export interface RoundReport {
  readonly round: number;
  readonly rounds: number;
  /** Share of the examples classified rightly, from 0 to 1, where the task has such; the mean loss. */
  readonly accuracy?: number;
  readonly loss?: number;
  /** The task's other metrics. */
  readonly metrics?: MetricValues;
  /** The same by client, on hold-outs: of what it is judged by. */
  readonly spread?: Spread;
  /** What the model is judged by: one of these. */
  readonly judgedBy: MetricName;
  /** Sum over the layers of the clients' mean activation norms. */
  readonly activationNorm?: number;
  /** Clients whose updates are in the model. */
  readonly participants: number;
  readonly seconds: number;
}

/** How a command shows what it does: to a person at a terminal, in a plain log, or to a program. */
export interface View {
  /**
   * One thing that happened: an object for programs, a sentence for people, if it concerns them.
   */
  say(event: string, facts: Readonly<Record<string, unknown>>, sentence?: string): void;
  /**
   * What is running: `share` of it is done, from 0 to 1; and sentences about it, each on a
   * line of its own.
   */
  progress(what: string, share: number, ...doing: readonly string[]): void;
  round(report: RoundReport): void;
  /** A drawing; programs do not get it. */
  draw(text: string): void;
  /** Leaves the terminal as it was. */
  close(): void;
}

/**
 * The view that fits where standard output leads to. A `steady` one is never silent for long, in a
 * plain log too.
 */
export function openView(json: boolean, { steady = false } = {}): View {
  if (json) return jsonView();
  if (process.stdout.isTTY) return terminalView();
  return steady ? steadyView(plainView()) : plainView();
}

const print = (line: string) => void process.stdout.write(`${line}\n`);

function jsonView(): View {
  const write = (object: unknown) => print(printableJson(JSON.stringify(object)));
  return {
    say: (event, facts) => write({ event, ...facts }),
    progress() {},
    round: (report) => write({ event: "round", ...report }),
    draw() {},
    close() {},
  };
}

const NONE = "-";
const percent = (share?: number) => (share === undefined ? NONE : `${(100 * share).toFixed(1)} %`);

/** What a model is judged by, as a value; undefined where it was not evaluated. */
export const judgementOf = ({
  accuracy,
  metrics,
  judgedBy,
}: Pick<RoundReport, "accuracy" | "metrics" | "judgedBy">): number | undefined =>
  judgedBy === "accuracy" ? accuracy : metrics?.[judgedBy];

/** A metric's name within a sentence: "accuracy", "mean squared error", but "R2", "ROC-AUC". */
export const inSentence = (name: MetricName): string => {
  const { title } = METRICS[name];
  return /^[A-Z][a-z]/.test(title) ? title[0].toLowerCase() + title.slice(1) : title;
};

const judgement = (report: RoundReport) => metricText(report.judgedBy, judgementOf(report));

const sentenceOf = (report: RoundReport) => {
  const { round, rounds, judgedBy, loss, activationNorm, participants, seconds } = report;
  return `round ${round}/${rounds}: ${inSentence(judgedBy)} ${judgement(report)}, loss ${figureText(loss)}, activation norm ${figureText(activationNorm)}, ${counted(participants, "client")}, ${seconds.toFixed(1)} s`;
};

function plainView(): View {
  return {
    say(_event, _facts, sentence) {
      if (sentence !== undefined) print(printableLines(sentence));
    },
    progress() {},
    round: (report) => print(sentenceOf(report)),
    draw: print,
    close() {},
  };
}

/** Milliseconds of silence after which a steady view says how far the work is. */
const SILENCE = 4000;

/**
 * The same view, but when it has said nothing for a while it says the newest progress as a line.
 */
export function steadyView(view: View): View {
  let newest: string | undefined;
  let timer: NodeJS.Timeout | undefined;
  const wait = () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (newest !== undefined) view.draw(newest);
      wait();
    }, SILENCE);
    timer.unref();
  };
  wait();
  return {
    ...view,
    say(event, facts, sentence) {
      view.say(event, facts, sentence);
      if (sentence !== undefined) wait();
    },
    progress(what, share, ...doing) {
      newest = [what, percent(share), ...doing].join(", ");
    },
    round(report) {
      view.round(report);
      wait();
    },
    close() {
      clearTimeout(timer);
      view.close();
    },
  };
}

const columnsFor = (judgedBy: MetricName) => [
  "Round",
  METRICS[judgedBy].title,
  "Loss",
  "Activation norm",
  "Clients",
  "Seconds",
];

const COLUMNS = columnsFor("accuracy");
// The longest title stands in the table too.
const WIDTHS = COLUMNS.map((name, i) => Math.max(i === 1 ? 17 : 10, name.length + 2));
const TABLE_WIDTH = WIDTHS.reduce((a, b) => a + b);

function tableOf(rows: readonly (readonly string[])[]): string {
  const table = new Table({
    colWidths: WIDTHS,
    colAligns: COLUMNS.map(() => "right" as const),
    chars: Object.fromEntries(
      [
        "top",
        "top-mid",
        "top-left",
        "top-right",
        "bottom",
        "bottom-mid",
        "bottom-left",
        "bottom-right",
        "left",
        "left-mid",
        "mid",
        "mid-mid",
        "right",
        "right-mid",
        "middle",
      ].map((name) => [name, ""]),
    ),
    style: { "padding-left": 0, "padding-right": 0 },
  });
  table.push(...rows.map((row) => [...row]));
  return table.toString();
}

/**
 * A text in lines of at most so many characters, broken between words; a longer word has a line of
 * its own. A text that begins with spaces is a command: it stays whole, so that it can be copied.
 */
export function wrapped(text: string, columns: number): string[] {
  if (text.startsWith("  ")) return [text];
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const line = lines.at(-1);
    if (line !== undefined && line.length + 1 + word.length <= columns)
      lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines;
}

/** A text in lines of at most so many characters, whatever its words are. */
export const cutLines = (text: string, columns: number): string[] =>
  text
    .split("\n")
    .flatMap((line) => wrapped(line, columns))
    .flatMap((line) => line.match(new RegExp(`.{1,${columns}}`, "gu")) ?? [""]);

/**
 * A progress bar and the sentences about it, in a terminal of that many columns: one line where
 * they fit.
 */
export function progressLines(
  columns: number,
  what: string,
  share: number,
  doing: readonly string[],
): string[] {
  const percentage = `${Math.round(100 * share)} %`.padStart(5);
  const room = columns - 4 - what.length - percentage.length;
  const size = Math.max(5, Math.min(30, room));
  const done = Math.round(size * share);
  const bar = `  ${what} ${"█".repeat(done)}${"░".repeat(size - done)}${percentage}`;
  const short = `${bar}  ${doing[0] ?? ""}`;
  return doing.length <= 1 && short.length <= columns
    ? [short]
    : [bar, ...doing.flatMap((text) => wrapped(text, columns - 2)).map((line) => `  ${line}`)];
}

/** Lines that are redrawn in place at the end of the terminal, until they are cleared. */
export interface LiveLines {
  show(texts: readonly string[]): void;
  clear(): void;
}

/** Lines of a terminal; each must be shorter than its columns. */
export function openLines(): LiveLines {
  // Each line is a bar of its own, which draws nothing but its text.
  let bars: MultiBar | undefined;
  let shown: SingleBar[] = [];
  return {
    show(texts) {
      bars ??= new MultiBar({
        format: "{line}",
        clearOnComplete: true,
        hideCursor: true,
        stream: process.stdout,
      });
      while (shown.length < texts.length) shown.push(bars.create(1, 0, { line: "" }));
      shown.forEach((bar, i) => bar.update(0, { line: texts[i] ?? "" }));
    },
    clear() {
      bars?.stop();
      bars = undefined;
      shown = [];
    },
  };
}

/** How wide the terminal is now. */
export const columnsNow = (): number => process.stdout.columns || 80;

function terminalView(): View {
  const lines = openLines();
  let headed = false;
  const write = (text: string) => {
    lines.clear();
    print(text);
  };
  const say = (text: string) => {
    const columns = columnsNow();
    const lines = printableLines(text)
      .split("\n")
      .flatMap((line) => wrapped(line, columns));
    write(lines.join("\n"));
    headed = false;
  };
  return {
    say(_event, _facts, sentence) {
      if (sentence !== undefined) say(sentence);
    },
    progress(what, share, ...doing) {
      lines.show(progressLines(columnsNow(), what, share, doing.map(printable)));
    },
    round(report) {
      if (columnsNow() < TABLE_WIDTH) return say(sentenceOf(report));
      if (!headed) write(tableOf([columnsFor(report.judgedBy)]));
      headed = true;
      write(
        tableOf([
          [
            `${report.round}/${report.rounds}`,
            judgement(report),
            figureText(report.loss),
            figureText(report.activationNorm),
            String(report.participants),
            report.seconds.toFixed(1),
          ],
        ]),
      );
    },
    draw: write,
    close: lines.clear,
  };
}
