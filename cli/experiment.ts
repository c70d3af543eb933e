import { readFile } from "node:fs/promises";
import { availableParallelism, cpus } from "node:os";
import { basename, dirname, extname, join, parse, relative } from "node:path";
import { ConfigError, FedflatError } from "../runtime/errors.js";
import { METRIC_NAMES, metricText } from "../runtime/models/metrics/built-in.js";
import { makeFolder } from "../runtime/platform/node-files.js";
import { openStateFolder } from "../runtime/platform/node-state.js";
import { counted } from "./counted.js";
import { finishedResult, runCell } from "./experiment/cell.js";
import { runCommand, type Fact } from "./experiment/command.js";
import { readExperiment, type ExperimentFile } from "./experiment/file.js";
import { cellsOf, type Cell } from "./experiment/grid.js";
import { openLiveView, type RunStatus } from "./experiment/live.js";
import { inLanes } from "./experiment/pool.js";
import {
  intoDocument,
  mainTable,
  picturesOf,
  resultsCsv,
  resultsPage,
  resultsTex,
  roundsCsv,
  type Circumstances,
  type FinishedCell,
} from "./experiment/report.js";
import { digitsOf, MEASURES, unitOf } from "./experiment/result.js";
import { savePicture } from "./plots/save.js";
import { checkSettings, type SettingsOf } from "./settings.js";
import { inSentence, judgementOf, type RoundReport } from "./view.js";
import { writeWhole } from "./write.js";

/**
 * `fedflat experiment`: every combination of a file's grid as a run of `fedflat simulate` in a
 * process of its own, so many at once as there are cores; then tables and pictures. What is
 * finished in the folder is not run again. A shard runs its part of the grid and leaves tables and
 * pictures to `--collect`, since other shards write into the same folder.
 */
export async function experiment(
  settings: SettingsOf<"experiment">,
  signal: AbortSignal,
): Promise<void> {
  const read = await readExperiment(settings.file);
  const data = settings.dataOfRuns;
  const file: ExperimentFile =
    data === undefined ? read : { ...read, settings: { ...read.settings, data } };
  const { shard, collect } = settings;
  const cells = cellsToRun(settings, file);
  const name = basename(settings.file, extname(settings.file));
  if (settings.into !== undefined) await documentFor(settings.into, name, "");
  const out = settings.out ?? join("runs", name);
  const folderOf = (cell: Cell) => join(out, "runs", cell.name);
  makeFolder(join(out, "runs"));
  const hold = await holdOf(out, shard && `lock-${shard.k}-of-${shard.n}`);

  const finished = new Map<Cell, FinishedCell>();
  for (const cell of cells) {
    const result = await finishedResult(folderOf(cell), file.flatness);
    if (result !== undefined) finished.set(cell, { cell, result });
  }
  const waiting = collect ? [] : cells.filter((cell) => !finished.has(cell));
  const cores = availableParallelism();
  const lanes = Math.max(1, Math.min(settings.parallel ?? cores, waiting.length));
  const workers = Math.max(1, Math.floor(cores / lanes));

  const inOrder = () => cells.flatMap((cell) => finished.get(cell) ?? []);
  const writeTables = async () => {
    if (shard) return;
    await writeWhole(join(out, "results.csv"), resultsCsv(inOrder(), file.target));
    await writeWhole(join(out, "rounds.csv"), roundsCsv(inOrder()));
  };

  const view = openLiveView(settings.json, lanes);
  let failed: Circumstances["failed"] = [];
  try {
    view.say(
      "begin",
      { runs: cells.length, finished: finished.size, folder: out },
      `${counted(cells.length, "run")}, ${finished.size} finished already, ${lanes} at once; results in ${out}`,
    );
    view.total(finished.size, cells.length);
    const ended = await inLanes(waiting, lanes, signal, async (cell, lane) => {
      let status: RunStatus = {
        name: titleOf(cell),
        round: 0,
        rounds: cell.settings.rounds,
        doing: "starting",
      };
      view.lane(lane, status);
      try {
        const result = await runCell(
          cell,
          folderOf(cell),
          file.flatness,
          workers,
          signal,
          (fact) => view.lane(lane, (status = after(status, fact))),
          runCommand,
        );
        finished.set(cell, { cell, result });
        view.say(
          "finished",
          { run: cell.name, ...cell.at, ...measuresOf(result) },
          sentenceOf(cell, result),
        );
        view.total(finished.size, cells.length);
        await writeTables();
      } catch (error) {
        if (!signal.aborted)
          view.say(
            "failed",
            { run: cell.name, reason: (error as Error).message },
            `${titleOf(cell)} failed: ${(error as Error).message}`,
          );
        throw error;
      } finally {
        view.lane(lane, undefined);
      }
    });
    failed = ended.map(({ task, error }) => ({
      cell: task,
      reason: (error as Error).message,
    }));
    const circumstances = {
      command: `fedflat experiment ${settings.file}`,
      machine: await machine(),
      failed,
      cells: cells.length,
    };
    const pages = shard ? [] : await writePages(settings, file, out, inOrder(), circumstances);
    await writeTables();
    const results = pages.length === 0 ? "" : `\nResults: ${pages.join(", ")}`;
    view.say(
      signal.aborted ? "stopped" : "done",
      { finished: finished.size, failed: failed.length, pages },
      signal.aborted
        ? `Stopped with ${finished.size} of ${counted(cells.length, "run")} finished; the same command continues from there.${results}`
        : `${finished.size} of ${counted(cells.length, "run")} finished.${results}`,
    );
  } finally {
    view.close();
    await hold.close();
  }
  if (failed.length > 0)
    throw new ConfigError(
      "failed",
      `"experiment" expected all runs to finish, got ${failed.length} of ${cells.length} failed; the same command tries them again`,
    );
}

/**
 * The runs of the grid, or of a shard of it.
 * @throws ConfigError `usage`, or what is wrong with the file's settings
 */
function cellsToRun(
  { file: path, shard, collect, page, into }: SettingsOf<"experiment">,
  file: ExperimentFile,
): readonly Cell[] {
  if (shard !== undefined && (collect || page !== undefined || into !== undefined))
    throw new ConfigError(
      "usage",
      `"--shard" expected neither --collect, --page nor --into beside it: a shard writes no tables`,
    );
  const cells = cellsOf(file, path);
  if (file.flatness !== undefined)
    checkSettings(
      "flatness",
      { modelFolder: "of the run", data: cells[0].settings.data },
      file.flatness,
      `flatness" in "${path}`,
    );
  return shard ? cells.filter((_, i) => i % shard.n === shard.k - 1) : cells;
}

/** @throws ConfigError `busy` */
const holdOf = (out: string, name = "lock") =>
  openStateFolder(join(out, name)).catch((error) => {
    if (!(error instanceof FedflatError) || error.code !== "state-locked") throw error;
    throw new ConfigError(
      "busy",
      `"--out" expected a folder in which no other experiment is at work, got "${out}"`,
    );
  });

const titleOf = ({ at }: Cell): string =>
  Object.entries(at)
    .map(([key, value]) => (key === "algorithm" ? parse(String(value)).name : `${key} ${value}`))
    .join(", ");

const measuresOf = (result: FinishedCell["result"]) =>
  Object.fromEntries(Object.entries(MEASURES).map(([name, of]) => [name, of(result)]));

function sentenceOf(cell: Cell, result: FinishedCell["result"]): string {
  const { judgedBy = "accuracy" } = result;
  const judged = (value: number) => `${value.toFixed(digitsOf(judgedBy))}${unitOf(judgedBy)}`;
  const called = judgedBy === "accuracy" ? "" : `${inSentence(judgedBy)} `;
  const said = (value: number | undefined, text: (value: number) => string) =>
    value === undefined ? [] : [text(value)];
  return [
    titleOf(cell),
    ...said(MEASURES.sel(result), (sel) => `${called}sel ${judged(sel)}`),
    ...said(MEASURES.all(result), (all) => `all ${judged(all)}`),
    ...said(MEASURES.eigenvalue(result), (value) => `top eigenvalue ${value.toPrecision(4)}`),
    ...said(MEASURES.trace(result), (value) => `trace ${value.toPrecision(4)}`),
    `${result.cpuSeconds.toFixed(0)} CPU s`,
  ].join("  ");
}

/** What a round's model is judged by, in words. */
function judgementIn(fact: Fact): string | undefined {
  const judgedBy = METRIC_NAMES.find((one) => one === fact["judgedBy"]) ?? "accuracy";
  const value: unknown = judgementOf({ ...(fact as Partial<RoundReport>), judgedBy });
  return typeof value === "number" ? metricText(judgedBy, value) : undefined;
}

/** What a lane shows after one more line of a command's output. */
function after(status: RunStatus, fact: Fact): RunStatus {
  const { event, round } = fact;
  if (event === "measuring") return { ...status, doing: "measuring" };
  if (event !== "round" || typeof round !== "number") return status;
  const judged = judgementIn(fact);
  return {
    ...status,
    round,
    doing: judged === undefined ? status.doing : `model ${judged}`,
  };
}

/**
 * Pages and pictures in the experiment's folder, and where else the page is wanted. Returns the
 * pages.
 */
async function writePages(
  settings: SettingsOf<"experiment">,
  file: ExperimentFile,
  out: string,
  finished: readonly FinishedCell[],
  circumstances: Circumstances,
): Promise<string[]> {
  if (finished.length === 0) return [];
  const pictures = picturesOf(file.title, finished);
  const pages: { path: string; pictures: string }[] = [
    { path: join(out, "results.md"), pictures: out },
  ];
  if (settings.page !== undefined)
    pages.push({
      path: settings.page,
      pictures: settings.page.replace(/\.md$/, "") + "-pictures",
    });
  await writeWhole(join(out, "results.tex"), resultsTex(file, finished));
  if (settings.into !== undefined) {
    const name = basename(settings.file, extname(settings.file));
    const table = mainTable(file, finished);
    await writeWhole(settings.into, await documentFor(settings.into, name, table));
  }
  for (const { path, pictures: folder } of pages) {
    makeFolder(folder);
    for (const { name, svg } of pictures) await savePicture(join(folder, name), svg);
    const shown = relative(dirname(path), folder);
    await writeWhole(
      path,
      resultsPage(file, finished, circumstances, pictures, shown === "" ? "" : `${shown}/`),
    );
  }
  return pages.map(({ path }) => path);
}

/**
 * A Markdown file with this table in the place that it has for it.
 * @throws ConfigError `usage` where it has none.
 */
async function documentFor(path: string, name: string, table: string): Promise<string> {
  const text = await readFile(path, "utf8").catch(() => undefined);
  const filled = text === undefined ? undefined : intoDocument(text, name, table);
  if (filled === undefined)
    throw new ConfigError(
      "usage",
      `"--into" expected a file with a line <!-- table ${name} --> and a line <!-- end --> below it, got "${path}"`,
    );
  return filled;
}

async function machine(): Promise<string> {
  const manifest = new URL("../../package.json", import.meta.url);
  const { version } = JSON.parse(await readFile(manifest, "utf8")) as {
    version: string;
  };
  const [processor] = cpus();
  return `fedflat ${version}, Node ${process.version}, ${availableParallelism()} cores of ${processor?.model.trim() ?? "an unknown processor"}`;
}
