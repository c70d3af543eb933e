import { appendFile, readFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { ConfigError } from "../../runtime/errors.js";
import { nodeFiles, writeWhole } from "../../runtime/platform/node-files.js";
import { readMetadata } from "../../runtime/tensors/safetensors.js";
import { serial } from "../../runtime/serial.js";
import type { Log } from "../log.js";
import type { Blob, StatisticsRecord } from "./ledger.js";

/**
 * A run's folder, for people and their programs:
 *
 *     config.json        what was asked for
 *     rounds.jsonl       one line for each committed round: only what seed and data determine
 *     evaluations.jsonl  one line for each evaluated round, likewise
 *     timings.jsonl      what differs from run to run: durations, bytes
 *     statistics.json    what clients said of their inputs before the first round, where they did
 *     model/             weights.safetensors and model.json of the last committed round
 *     summary.md
 *     state/             the ledger (storage/files.ts), from which the rest could be made again
 */
export interface RunFolder {
  /**
   * Continues behind the committed records and their model; anything else in the files is dropped.
   */
  begin(
    config: unknown,
    lines: readonly object[],
    last: { readonly round: number; readonly model: Blob },
    statistics?: StatisticsRecord,
  ): Promise<void>;

  // One after the other, in the order of the calls. A failed write is logged and costs no round,
  // because the ledger has everything.
  /** @param model before the first round, with these statistics in its card */
  statistics(statistics: StatisticsRecord, model: Blob): void;
  /** The last round's model, with a threshold in its card. */
  threshold(round: number, model: Blob): void;
  round(line: { readonly round: number }, timings: object, model: Blob): void;
  evaluation(line: object): void;
  /** @param text asked for when all before it is written */
  summary(text: () => string): void;

  /** When all of that is written. */
  written(): Promise<void>;
}

/** Where the ledger of a run lies. */
export const stateFolder = (folder: string): string => join(folder, "state");

/** Whether a run was begun in this folder. */
export const hasRun = (folder: string): boolean => existsSync(join(stateFolder(folder), "journal"));

/**
 * Refuses a folder that does not fit the intention.
 * @throws ConfigError `run-exists`, `nothing-to-resume`.
 */
export function requireRunFolder(folder: string, resume: boolean): void {
  const exists = hasRun(folder);
  if (exists && !resume)
    throw new ConfigError(
      "run-exists",
      `"run" expected a folder without a run, got "${folder}" (resume it, or name another)`,
    );
  if (!exists && resume)
    throw new ConfigError(
      "nothing-to-resume",
      `"run" expected the folder of a run to resume, got "${folder}"`,
    );
}

const jsonl = (lines: readonly object[]): string =>
  lines.map((line) => JSON.stringify(line) + "\n").join("");

export function openRunFolder(folder: string, log: Log): RunFolder {
  const encoder = new TextEncoder();
  const writing = serial();
  const write = (name: string, text: string) =>
    writeWhole(nodeFiles, folder, name, encoder.encode(text));
  const writeStatistics = (statistics: StatisticsRecord) =>
    write("statistics.json", JSON.stringify(statistics, null, 2) + "\n");
  const append = (name: string, line: object) => appendFile(join(folder, name), jsonl([line]));
  async function writeModel(round: number, model: Blob): Promise<void> {
    const { sha256, bytes } = model;
    const { model: description, privacy } = readMetadata(bytes);
    const card = JSON.parse(description) as object;
    const place = join(folder, "model");
    await writeWhole(nodeFiles, place, "weights.safetensors", bytes);
    const spent = privacy === undefined ? {} : { privacy: JSON.parse(privacy) as object };
    const text = JSON.stringify({ ...card, round, sha256, ...spent }, null, 2) + "\n";
    await writeWhole(nodeFiles, place, "model.json", encoder.encode(text));
  }
  function behind(work: () => Promise<void>): void {
    void writing.run(async () => {
      try {
        await work();
      } catch (error) {
        log.error({ err: error }, "the run's folder cannot be written");
      }
    });
  }
  return {
    async begin(config, lines, last, statistics) {
      await nodeFiles.makeFolder(join(folder, "model"));
      await write("config.json", JSON.stringify(config, null, 2) + "\n");
      await write("rounds.jsonl", jsonl(lines));
      const evaluations = await linesOf(join(folder, "evaluations.jsonl"));
      await write(
        "evaluations.jsonl",
        jsonl(evaluations.filter(({ round }) => round <= lines.length)),
      );
      if (statistics !== undefined) await writeStatistics(statistics);
      await writeModel(last.round, last.model);
    },
    statistics: (statistics, model) =>
      behind(async () => {
        await writeStatistics(statistics);
        await writeModel(0, model);
      }),
    threshold: (round, model) => behind(() => writeModel(round, model)),
    round: (line, timings, model) =>
      behind(async () => {
        await append("rounds.jsonl", line);
        await append("timings.jsonl", timings);
        await writeModel(line.round, model);
      }),
    evaluation: (line) => behind(() => append("evaluations.jsonl", line)),
    summary: (text) => behind(() => write("summary.md", text())),
    written: writing.idle,
  };
}

/** The lines of a run's folder, each list in order of rounds, as far as they are there. */
export async function readRunFolder(folder: string): Promise<{
  readonly rounds: readonly RunFolderLine[];
  readonly evaluations: readonly RunFolderLine[];
  readonly timings: readonly RunFolderLine[];
}> {
  const [rounds, evaluations, timings] = await Promise.all(
    ["rounds", "evaluations", "timings"].map((name) => linesOf(join(folder, `${name}.jsonl`))),
  );
  return { rounds, evaluations, timings };
}

type RunFolderLine = { readonly round: number } & Readonly<Record<string, unknown>>;

/** The whole lines of a file that may have been cut off in the middle of one. */
async function linesOf(path: string): Promise<RunFolderLine[]> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch {
    return [];
  }
  return text.split("\n").flatMap((line) => {
    try {
      const value: unknown = JSON.parse(line);
      return typeof value === "object" &&
        value !== null &&
        "round" in value &&
        typeof value.round === "number"
        ? [{ ...value, round: value.round }]
        : [];
    } catch {
      return [];
    }
  });
}
