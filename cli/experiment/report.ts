import { basename } from "node:path";
import { METRICS, type MetricName } from "../../runtime/models/metrics/built-in.js";
import { inSentence } from "../view.js";
import { csvField } from "../write.js";
import { lineChart, type Series } from "../plots/line-chart.js";
import type { ExperimentFile, Published, SettingValue } from "./file.js";
import { namesOf, type Cell } from "./grid.js";
import { pairedTest, type Paired } from "./paired-test.js";
import {
  digitsOf,
  MEASURES,
  roundsTo,
  signOf,
  statisticOf,
  unitOf,
  type RunResult,
  type Statistic,
} from "./result.js";

/** A finished run with its place in the grid. */
export interface FinishedCell {
  readonly cell: Cell;
  readonly result: RunResult;
}

/** The runs that differ in nothing but the seed. */
interface Row {
  readonly algorithm: string;
  readonly zeta: number;
  /** All else that the grid varies, in words: one table and one picture for each. */
  readonly condition: string;
  readonly runs: readonly FinishedCell[];
}

/** What stands on the page beside the results themselves. */
export interface Circumstances {
  /** The command that makes this page. */
  readonly command: string;
  /** Versions, kernels, processor. */
  readonly machine: string;
  readonly failed: readonly { readonly cell: Cell; readonly reason: string }[];
  /** How many runs the experiment has. */
  readonly cells: number;
}

/** A picture of the page: the name of its file, without an ending, and its SVG. */
interface Picture {
  readonly name: string;
  readonly title: string;
  readonly svg: string;
}

const wordsOf = (at: Readonly<Record<string, SettingValue>>): string =>
  Object.entries(at)
    .filter(([key]) => !["variant", "algorithm", "aggregate", "zeta", "seed"].includes(key))
    .map(([key, value]) => `${key} ${value}`)
    .join(", ");

/** The algorithm, and the aggregation rule where the grid has several. */
const algorithmOf = ({ algorithm, at }: Cell): string =>
  at["aggregate"] === undefined
    ? algorithm
    : [...("algorithm" in at ? [algorithm] : []), at["aggregate"]].join(", ");

/** What the models of these rows are judged by: runs that one table holds have one task. */
const judgedBy = ([row]: readonly Row[]): MetricName => row.runs[0].result.judgedBy ?? "accuracy";

/**
 * The model whose figure pictures show. A mean of participants' weights says nothing of what a rule
 * makes of them, or of hostile ones, and where some models are personal only clients can try them.
 */
function shownOf(rows: readonly Row[]): "sel" | "model" | "own" {
  const { at } = rows[0].runs[0].cell;
  if ("aggregate" in at || "attack" in at) return "model";
  return rows.every((row) => valuesOf(row, "sel") !== undefined) ? "sel" : "own";
}

function rowsOf(finished: readonly FinishedCell[]): Row[] {
  const rows = new Map<string, Row & { runs: FinishedCell[] }>();
  for (const one of finished) {
    const algorithm = algorithmOf(one.cell);
    const { zeta } = one.cell.settings;
    const condition = wordsOf(one.cell.at);
    const key = JSON.stringify([condition, algorithm, zeta]);
    const row = rows.get(key) ?? { algorithm, zeta, condition, runs: [] };
    rows.set(key, row);
    row.runs.push(one);
  }
  return [...rows.values()];
}

const valuesOf = (row: Row, measure: keyof typeof MEASURES) =>
  statisticOf(row.runs.map(({ result }) => MEASURES[measure](result)));

/** The differing values, in their order. */
const distinct = <T>(values: readonly T[]): T[] => [...new Set(values)];

// CSV

const cellOfCsv = (value: unknown): string =>
  // Rounded to eight digits, so that 0.1 + 0.2 reads as 0.3.
  typeof value === "number" ? String(Number(value.toPrecision(8))) : csvField(String(value ?? ""));

const csvOf = (rows: readonly (readonly unknown[])[]): string =>
  rows.map((row) => row.map(cellOfCsv).join(",") + "\n").join("");

/** One line a run. Shares, such as accuracies, in percent. */
export function resultsCsv(finished: readonly FinishedCell[], target: number | undefined): string {
  const axes = Object.keys(finished[0]?.cell.at ?? {});
  const all = Object.keys(MEASURES) as (keyof typeof MEASURES)[];
  // Where clients hold nothing out there is nothing of their own to show.
  const measures = all.filter(
    (name) =>
      !name.startsWith("own") ||
      finished.some(({ result }) => MEASURES[name](result) !== undefined),
  );
  return csvOf([
    [...axes, ...measures, "roundsToTarget", "run"],
    ...finished.map(({ cell, result }) => [
      ...axes.map((axis) => cell.at[axis]),
      ...measures.map((measure) => MEASURES[measure](result)),
      target === undefined ? undefined : roundsTo(target, result),
      cell.name,
    ]),
  ]);
}

/** One line a round of a run. */
export function roundsCsv(finished: readonly FinishedCell[]): string {
  const axes = Object.keys(finished[0]?.cell.at ?? {});
  return csvOf([
    [...axes, "round", "sel", "all", "model", "activationNorm"],
    ...finished.flatMap(({ cell, result }) =>
      result.rounds.map((round) => [
        ...axes.map((axis) => cell.at[axis]),
        round.round,
        round.sel,
        round.all,
        round.model,
        round.activationNorm,
      ]),
    ),
  ]);
}

// Pictures

const method = ({ algorithm, zeta }: Row, zetas: readonly number[]): string => {
  if (zeta === 0) return algorithm;
  const several = zetas.filter((other) => other > 0).length > 1;
  return several ? `${algorithm} + MAN ${zeta}` : `${algorithm} + MAN`;
};

const titled = (title: string, condition: string) =>
  condition === "" ? title : `${title}, ${condition}`;

const fileName = (...parts: readonly string[]) =>
  parts
    .filter((part) => part !== "")
    .join("-")
    .replace(/[^\w.+-]+/g, "-");

/**
 * What models are judged by against round, and against zeta where the grid has several, for each
 * condition; of codecs all against what has been sent, too.
 */
export function picturesOf(title: string, finished: readonly FinishedCell[]): Picture[] {
  const rows = rowsOf(finished);
  const sent = finished.some(({ cell: { at } }) => "codec" in at)
    ? [againstBytes(title, rows)]
    : [];
  return sent.concat(inRounds(title, rows));
}

function againstBytes(title: string, rows: readonly Row[]): Picture {
  const zetas = distinct(rows.map(({ zeta }) => zeta));
  const judged = judgedBy(rows);
  const series = rows.map((row) => ({ name: `${method(row, zetas)}, ${row.condition}`, row }));
  return {
    name: "bytes",
    title: `${METRICS[judged].title} against bytes`,
    svg: lineChart({
      title,
      x: "models and updates over the line (MB)",
      y: `test ${inSentence(judged)}, model${METRICS[judged].unit === "share" ? " (%)" : ""}`,
      logarithmic: String,
      series: series.map(({ name, row }) => ({
        name,
        family: name,
        points: curveOf(row, "model").map(({ x: round, ...point }) => {
          const [{ result }] = row.runs;
          // Every round sends as much.
          return { x: ((result.bytes / 1e6) * round) / result.rounds.length, ...point };
        }),
      })),
    }),
  };
}

function inRounds(title: string, rows: readonly Row[]): Picture[] {
  return distinct(rows.map(({ condition }) => condition)).flatMap((condition): Picture[] => {
    const here = rows.filter((row) => row.condition === condition);
    const zetas = distinct(here.map(({ zeta }) => zeta));
    const seeds = Math.max(...here.map(({ runs }) => runs.length));
    const positive = zetas.filter((zeta) => zeta > 0);
    const bars = seeds > 1 ? [`bars: ± deviation, n=${seeds} seeds`] : [];
    const judged = judgedBy(here);
    const shown = shownOf(here);
    const unit = METRICS[judged].unit === "share" ? " (%)" : "";
    const curve: Picture = {
      name: fileName(judged, condition),
      title: titled(`${METRICS[judged].title} against round`, condition),
      svg: lineChart({
        title: titled(title, condition),
        x: "round",
        y: `${shown === "own" ? "clients' own" : "test"} ${inSentence(judged)}, ${shown === "own" ? "mean" : shown}${unit}`,
        series: here.map((row) => ({
          name: method(row, zetas),
          family: positive.length > 1 ? method(row, zetas) : row.algorithm,
          dashed: row.zeta === 0 && positive.length > 0,
          points: curveOf(row, shown),
        })),
        notes: [
          ...(positive.length === 1 ? [`solid: with MAN, zeta ${positive[0]}`] : []),
          ...(positive.length > 0 && zetas.includes(0) ? ["dashed: without MAN"] : []),
          ...bars,
        ],
      }),
    };
    if (zetas.length < 3) return [curve];
    return [
      curve,
      {
        name: fileName("zeta", condition),
        title: titled("Sensitivity to zeta", condition),
        svg: lineChart({
          title: titled("Sensitivity to zeta", condition),
          x: "zeta",
          y: `test ${inSentence(judged)}, sel, last round${unit}`,
          series: sensitivity(here),
          notes: ["zeta 0: without MAN", ...bars],
        }),
      },
    ];
  });
}

/** Mean and deviation over the seeds of each round that all of them have. */
function curveOf({ runs }: Row, measure: ReturnType<typeof shownOf>): Series["points"] {
  const [first] = runs;
  return first.result.rounds.flatMap(({ round }) => {
    const values = runs.map(
      ({ result }) => result.rounds.find((one) => one.round === round)?.[measure],
    );
    const statistic = statisticOf(values);
    return statistic?.count === runs.length
      ? [{ x: round, y: statistic.mean, deviation: statistic.deviation }]
      : [];
  });
}

const sensitivity = (rows: readonly Row[]): Series[] =>
  distinct(rows.map(({ algorithm }) => algorithm)).map((algorithm) => ({
    name: algorithm,
    family: algorithm,
    points: rows
      .filter((row) => row.algorithm === algorithm)
      .sort((a, b) => a.zeta - b.zeta)
      .flatMap((row) => {
        const sel = valuesOf(row, "sel");
        return sel ? [{ x: row.zeta, y: sel.mean, deviation: sel.deviation }] : [];
      }),
  }));

// Markdown

const NONE = "";

const shown = (value: number | undefined, digits: number): string =>
  value === undefined ? NONE : value.toFixed(digits);

const statistic = (value: Statistic | undefined, digits: number): string =>
  value === undefined
    ? NONE
    : value.deviation === undefined
      ? value.mean.toFixed(digits)
      : `${value.mean.toFixed(digits)} ± ${value.deviation.toFixed(digits)} (n=${value.count})`;

/** A table as it stands on the page and in LaTeX: text by column, the first one to the left. */
interface Table {
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** A column in which nothing stands is left out. */
function tableOf(head: readonly string[], rows: readonly (readonly string[])[]): Table {
  const kept = head.map((_, i) => i === 0 || rows.some((row) => row[i] !== NONE));
  const cells = (row: readonly string[]) => row.filter((_, i) => kept[i]);
  return { head: cells(head), rows: rows.map(cells) };
}

function markdown({ head, rows }: Table): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map((_, i) => (i === 0 ? "---" : "---:"))), ...rows.map(line)].join(
    "\n",
  );
}

function reached(row: Row, target: number | undefined): string {
  if (target === undefined) return NONE;
  const rounds = row.runs.map(({ result }) => roundsTo(target, result));
  const all = statisticOf(rounds);
  if (all === undefined) return "not reached";
  const text = statistic(all, 0);
  return all.count === rounds.length ? text : `${text}, the others not`;
}

const publishedFor = (row: Row, published: readonly Published[]): Published | undefined =>
  published.find(({ of }) =>
    Object.entries(of).every(([key, value]) =>
      row.runs.every(({ cell }) => cell.given[key] === value),
    ),
  );

function resultTable(rows: readonly Row[], { target, published }: ExperimentFile): Table {
  const zetas = distinct(rows.map(({ zeta }) => zeta));
  const paper = (row: Row) => publishedFor(row, published);
  const judged = judgedBy(rows);
  const digits = digitsOf(judged);
  const what = shownOf(rows);
  const head = (of: string) =>
    judged === "accuracy" ? `${of} %` : `${inSentence(judged)}, ${of}${unitOf(judged)}`;
  return tableOf(
    [
      "method",
      head("sel"),
      head("all"),
      head("model"),
      "worst tenth %",
      `own hold-outs${unitOf(judged)}`,
      `worst tenth of own${unitOf(judged)}`,
      `rounds to ${target}${unitOf(judged)}`,
      "top eigenvalue",
      "trace",
      "activation norm",
      "MB",
      "CPU s",
      "seeds",
      "published %",
      "published rounds",
      "published eigenvalue",
      "published trace",
    ],
    rows.map((row) => [
      method(row, zetas),
      ...(["sel", "all"] as const).map((measure) =>
        what === "sel" && shownOf([row]) === "sel"
          ? statistic(valuesOf(row, measure), digits)
          : NONE,
      ),
      statistic(valuesOf(row, "model"), digits),
      what === "own" ? NONE : statistic(valuesOf(row, "worstTenth"), 2),
      statistic(valuesOf(row, "own"), digits),
      statistic(valuesOf(row, "ownWorstTenth"), digits),
      reached(row, target),
      statistic(valuesOf(row, "eigenvalue"), 2),
      statistic(valuesOf(row, "trace"), 0),
      statistic(valuesOf(row, "activationNorm"), 3),
      shown((valuesOf(row, "bytes")?.mean ?? 0) / 1e6, 0),
      shown(valuesOf(row, "cpuSeconds")?.mean, 0),
      String(row.runs.length),
      shown(paper(row)?.accuracy, 2),
      String(paper(row)?.roundsToTarget ?? NONE),
      shown(paper(row)?.eigenvalue, 1),
      shown(paper(row)?.trace, 0),
    ]),
  );
}

/** A line that is metered or slow: bits a second. */
const SLOW_LINE = 256e3;

/** What one client sends and receives in a round, and how the models became. */
function codecTable(rows: readonly Row[]): Table {
  const judged = judgedBy(rows);
  const zetas = distinct(rows.map(({ zeta }) => zeta));
  const bytes = (row: Row) => {
    const [up, down] = (["updateBytes", "modelBytes"] as const).map(
      (measure) => valuesOf(row, measure)?.mean ?? NaN,
    );
    return { up, down };
  };
  const whole = rows.find(({ runs: [{ cell }] }) => {
    const { codec, modelCodec } = cell.settings;
    return codec === "float32" && modelCodec === "float32";
  });
  const share = (value: (row: Row) => number, row: Row) =>
    whole === undefined ? NONE : (value(row) / value(whole)).toPrecision(2);
  return tableOf(
    [
      "algorithm",
      "codec",
      "models",
      "KB up",
      "of float32",
      "KB down",
      "up and down, of float32",
      `${inSentence(judged)}${unitOf(judged)}`,
      "seconds at 256 kbit/s",
    ],
    rows.map((row) => {
      const { up, down } = bytes(row);
      const { codec, modelCodec } = row.runs[0].cell.settings;
      return [
        method(row, zetas),
        codec,
        modelCodec,
        shown(up / 1e3, 1),
        share((one) => bytes(one).up, row),
        shown(down / 1e3, 1),
        share((one) => bytes(one).up + bytes(one).down, row),
        statistic(valuesOf(row, "model"), digitsOf(judged)),
        shown((8 * (up + down)) / SLOW_LINE, 1),
      ];
    }),
  );
}

/**
 * The table that answers what the experiment asks: of its aggregation rules, or its codecs, or its
 * methods.
 */
export function mainTable(file: ExperimentFile, finished: readonly FinishedCell[]): string {
  const rows = rowsOf(finished);
  return markdown(
    "aggregate" in file.grid
      ? ruleTable(rows)
      : "codec" in file.grid
        ? codecTable(rows)
        : resultTable(rows, file),
  );
}

/** What the final models are judged by, rules from top to bottom and conditions from left to right. */
function ruleTable(rows: readonly Row[]): Table {
  const conditions = distinct(rows.map(({ condition }) => condition));
  const zetas = distinct(rows.map(({ zeta }) => zeta));
  const methods = distinct(rows.map((row) => method(row, zetas)));
  return {
    head: ["rule", ...conditions],
    rows: methods.map((name) => [
      name,
      ...conditions.map((condition) => {
        const row = rows.find((one) => one.condition === condition && method(one, zetas) === name);
        return row === undefined
          ? NONE
          : statistic(valuesOf(row, "model"), digitsOf(judgedBy(rows)) - 1);
      }),
    ]),
  };
}

/** The text with this table in its place; nothing where it has no place of that name. */
export function intoDocument(text: string, name: string, table: string): string | undefined {
  const [begin, end] = [`<!-- table ${name} -->\n`, "<!-- end -->"];
  const from = text.indexOf(begin);
  const to = text.indexOf(end, from);
  if (from < 0 || to < 0) return undefined;
  return `${text.slice(0, from + begin.length)}\n${table}\n\n${text.slice(to)}`;
}

/** What the columns of the result tables are. */
function legendOf(rows: readonly Row[]): string {
  const metrics = distinct(rows.map((row) => judgedBy([row])));
  const isAccuracy = metrics.includes("accuracy");
  const means =
    shownOf(rows) === "own"
      ? ""
      : "**sel** of the mean of that round's participants' weights, **all** of the mean of all clients' newest weights, ";
  const figures = metrics.map((name) => {
    const { title, help, better } = METRICS[name];
    return name === "accuracy"
      ? "Accuracies"
      : `${title} (${help.toLowerCase()}; ${better} is better)`;
  });
  return [
    "Mean over the seeds, ± the sample standard deviation of that many (n).",
    `${figures.join(", ")} ${isAccuracy || metrics.length > 1 ? "are" : "is"} on the test data after the last round: ${means}**model** of the global model itself.`,
    ...(isAccuracy && means !== ""
      ? [
          "**Worst tenth**: the mean over the tenth of the clients for whom the final model is worst, each client's accuracy being that on the test data in its own mix of classes.",
        ]
      : []),
    ...(rows.some((row) => valuesOf(row, "own") !== undefined)
      ? [
          "**Own hold-outs**: each client with the model that it predicts with, on examples of its own that nobody trains on; mean of the clients, and of the worst tenth of them.",
        ]
      : []),
    `Eigenvalue and trace are of the Hessian of the plain ${isAccuracy ? "cross-entropy" : "loss"} over training data. MB are models and updates over the line, both ways; CPU seconds are those of the whole run with its measurements.`,
  ].join(" ");
}

/** The results page. `pictures` are shown from `folder`. */
export function resultsPage(
  file: ExperimentFile,
  finished: readonly FinishedCell[],
  circumstances: Circumstances,
  pictures: readonly Picture[],
  folder: string,
): string {
  const rows = rowsOf(finished);
  const conditions = distinct(rows.map(({ condition }) => condition));

  const results = conditions.map((condition) =>
    [
      ...(condition === "" ? [] : [`### ${condition}`]),
      markdown(
        resultTable(
          rows.filter((row) => row.condition === condition),
          file,
        ),
      ),
    ].join("\n\n"),
  );

  const effects = conditions.map((condition) =>
    effectOf(rows.filter((row) => row.condition === condition)),
  );
  const { cells, failed, command, machine } = circumstances;
  const missing = cells - finished.length - failed.length;
  const state = [
    `${finished.length} of ${cells} runs`,
    ...(missing > 0 ? [`${missing} not run yet`] : []),
    ...(failed.length > 0 ? [`${failed.length} failed`] : []),
  ].join(", ");

  return (
    [
      `# ${file.title}`,
      `Written by \`${command}\`: ${state}. ${machine}. ${
        file.source === undefined ? "" : `Published numbers: ${file.source}.`
      }`.trim(),
      ...("aggregate" in file.grid
        ? [
            `## ${METRICS[judgedBy(rows)].title} of the model${METRICS[judgedBy(rows)].unit === "share" ? ", %" : ""}, by aggregation rule`,
            mainTable(file, finished),
          ]
        : "codec" in file.grid
          ? ["## By codec, for one client and round", mainTable(file, finished)]
          : []),
      "## Results",
      ...results,
      legendOf(rows),
      ...(effects.some((effect) => effect !== "")
        ? [
            "## What MAN changes",
            ...conditions.flatMap((condition, i) =>
              effects[i] === ""
                ? []
                : [...(condition === "" ? [] : [`### ${condition}`]), effects[i]],
            ),
          ]
        : []),
      ...pictures.flatMap(({ name, title }) => [
        `## ${title}`,
        `![${title}](${folder}${name}.svg)`,
      ]),
      ...(failed.length > 0
        ? [
            "## Runs that failed",
            failed.map(({ cell, reason }) => `- \`${cell.name}\`: ${reason}`).join("\n"),
          ]
        : []),
      "## Settings",
      settingsTable(file),
      ...(file.remarks.length > 0 ? ["## Remarks", ...file.remarks] : []),
    ].join("\n\n") + "\n"
  );
}

/** Two rows that differ in nothing but zeta, the smaller one first. */
interface Pair {
  readonly algorithm: string;
  readonly less: Row;
  readonly more: Row;
}

const pairsOf = (rows: readonly Row[]): Pair[] =>
  distinct(rows.map(({ algorithm }) => algorithm)).flatMap((algorithm) => {
    const own = rows.filter((row) => row.algorithm === algorithm).sort((a, b) => a.zeta - b.zeta);
    return own.flatMap((less, i) => own.slice(i + 1).map((more) => ({ algorithm, less, more })));
  });

/** What the greater zeta adds to a measure, from the runs of either that have the same seed. */
function differenceOf({ less, more }: Pair, measure: keyof typeof MEASURES): Paired | undefined {
  const of = MEASURES[measure];
  return pairedTest(
    more.runs.flatMap(({ cell, result }) => {
      const other = less.runs.find((run) => run.cell.settings.seed === cell.settings.seed);
      const [a, b] = [other && of(other.result), of(result)];
      return a === undefined || b === undefined ? [] : [b - a];
    }),
  );
}

function signed(value: Paired | undefined, digits: number): string {
  if (value === undefined) return NONE;
  const text = statistic(value, digits);
  return value.mean > 0 ? `+${text}` : text;
}

const chance = (p: number | undefined): string =>
  p === undefined ? NONE : p < 1e-4 ? "< 0.0001" : p.toFixed(4);

function effectTable(pairs: readonly Pair[]): Table {
  const judged = judgedBy(pairs.map(({ less }) => less));
  const digits = digitsOf(judged);
  const sel = METRICS[judged].unit === "share" ? "sel, points" : `${inSentence(judged)}, sel`;
  return tableOf(
    ["method", "zeta", "against", sel, "p", "top eigenvalue", "trace"],
    pairs.map((pair) => {
      const sel = differenceOf(pair, "sel");
      return [
        pair.algorithm,
        String(pair.more.zeta),
        String(pair.less.zeta),
        signed(sel, digits),
        chance(sel?.p),
        signed(differenceOf(pair, "eigenvalue"), 2),
        signed(differenceOf(pair, "trace"), 0),
      ];
    }),
  );
}

/**
 * What a greater zeta changes in each method: differences in accuracy, eigenvalue and trace, and
 * where MAN goes the wrong way.
 */
function effectOf(rows: readonly Row[]): string {
  const all = pairsOf(rows);
  if (all.length === 0) return "";
  const pairs = all.filter(({ less }) => less.zeta === 0);
  const mean = (pair: Pair, measure: keyof typeof MEASURES) => differenceOf(pair, measure)?.mean;
  const judged = judgedBy(rows);
  const sign = signOf(judged);
  const verb = sign > 0 ? "raise" : "lower";
  const what = inSentence(judged);
  const wrong = pairs.flatMap((pair) => {
    const bad = [
      ...(sign * (mean(pair, "sel") ?? sign) <= 0 ? [`does not ${verb} the ${what}`] : []),
      ...((mean(pair, "eigenvalue") ?? -1) >= 0 ? ["does not lower the top eigenvalue"] : []),
      ...((mean(pair, "trace") ?? -1) >= 0 ? ["does not lower the trace"] : []),
    ];
    return bad.length === 0
      ? []
      : [`With ${pair.algorithm} and zeta ${pair.more.zeta} it ${bad.join(" and ")}.`];
  });
  const measured = pairs.filter((pair) => mean(pair, "sel") !== undefined);
  return [
    markdown(effectTable(all)),
    ...(wrong.length > 0 ? [wrong.join(" ")] : []),
    ...(wrong.length > 0 || measured.length === 0
      ? []
      : [
          pairs.every((pair) => mean(pair, "eigenvalue") === undefined)
            ? `MAN ${verb}s the ${what} of every method.`
            : `MAN ${verb}s the ${what}, and lowers top eigenvalue and trace of the Hessian, for every method.`,
        ]),
    ...(all.some((pair) => (differenceOf(pair, "sel")?.count ?? 0) > 1)
      ? [
          "Mean of the differences between runs of the same seed, ± their sample standard deviation, n pairs. **p**: Student's paired t test of `sel`, two-sided, not corrected for the number of rows.",
        ]
      : []),
  ].join("\n\n");
}

// LaTeX

const TEX: Readonly<Record<string, string>> = {
  "\\": "\\textbackslash{}",
  "~": "\\textasciitilde{}",
  "^": "\\textasciicircum{}",
  "±": "$\\pm$",
  "<": "$<$",
  ">": "$>$",
};

const tex = (text: string): string =>
  text
    .replace(/[\\~^±<>]|[#$%&_{}]/g, (sign) => TEX[sign] ?? `\\${sign}`)
    // A minus, not a hyphen.
    .replace(/(^| )-(?=\d)/g, "$1$-$");

const latex = ({ head, rows }: Table): string => {
  const line = (cells: readonly string[]) => `${cells.map(tex).join(" & ")} \\\\`;
  return [
    `\\begin{tabular}{l${"r".repeat(head.length - 1)}}`,
    "\\toprule",
    line(head),
    "\\midrule",
    ...rows.map(line),
    "\\bottomrule",
    "\\end{tabular}",
  ].join("\n");
};

/** The page's tables for a paper: `tabular`s that need the package booktabs. */
export function resultsTex(file: ExperimentFile, finished: readonly FinishedCell[]): string {
  const rows = rowsOf(finished);
  const tables = distinct(rows.map(({ condition }) => condition)).flatMap((condition) => {
    const here = rows.filter((row) => row.condition === condition);
    const pairs = pairsOf(here);
    return [
      `% ${titled("Results", condition)}`,
      latex(resultTable(here, file)),
      ...(pairs.length === 0
        ? []
        : [`% ${titled("What MAN changes", condition)}`, latex(effectTable(pairs))]),
    ];
  });
  const title = file.title.replace(/\s+/g, " ");
  return [`% ${title}. Needs \\usepackage{booktabs}.`, ...tables, ""].join("\n");
}

function settingsTable({ settings, variants, grid, set, flatness }: ExperimentFile) {
  const called = namesOf([grid["algorithm"] ?? settings["algorithm"] ?? []].flat().map(String));
  const shown = (key: string, value: unknown) =>
    key === "algorithm" ? called(String(value)) : String(value);
  const rows = [
    ...Object.entries(grid).map(([key, values]) => [
      key,
      values.map((value) => shown(key, value)).join(", "),
    ]),
    ...Object.entries(variants ?? {}).map(([name, given]) => [
      name,
      Object.entries(given)
        .map(
          ([key, value]) =>
            `${key} ${key === "model" ? basename(String(value)) : shown(key, value)}`,
        )
        .join(", ") || "-",
    ]),
    ...Object.entries(settings)
      .filter(([key]) => !["data", "test"].includes(key))
      .map(([key, value]) => [key, shown(key, value)]),
    ...Object.entries(set).map(([algorithm, numbers]) => [
      `set, ${called(algorithm)}`,
      Object.entries(numbers)
        .map(([name, value]) => `${name} = ${value}`)
        .join(", "),
    ]),
    ...Object.entries(flatness ?? {}).map(([key, value]) => [`flatness, ${key}`, String(value)]),
  ];
  return [
    "| setting | value |",
    "| --- | --- |",
    ...rows.map(([key, value]) => `| ${key} | ${value} |`),
    "",
    "All else as `fedflat simulate --help` says.",
  ].join("\n");
}
