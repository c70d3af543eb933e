import { readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { makeFolder } from "../../runtime/platform/node-files.js";
import { writeJson } from "../write.js";
import { collect, flatnessIn } from "./collect.js";
import { cpuSeconds, type Fact } from "./command.js";
import type { Cell } from "./grid.js";
import type { RunResult } from "./result.js";

/** Runs a command of fedflat: `runCommand`, or another one in tests. */
export type RunCommand = (
  args: readonly string[],
  folder: string,
  signal: AbortSignal,
  onFact: (fact: Fact) => void,
) => Promise<void>;

/**
 * How the final model is measured; not at all where absent. Settings of `fedflat flatness` by flag.
 */
type FlatnessSettings = Readonly<Record<string, unknown>> | undefined;

interface Kept {
  readonly flatness: FlatnessSettings;
  readonly result: RunResult;
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

/** How a cell's data were read: by which columns, and in which windows. */
const readingFlags = ({ settings }: Cell): string[] =>
  Object.entries({
    label: settings.labelColumn,
    target: settings.target?.join(","),
    window: settings.window,
    stride: settings.stride,
    group: settings.groupColumn,
  }).flatMap(([flag, value]) => (value === undefined ? [] : [`--${flag}`, String(value)]));

/** What a cell's folder holds of a finished run, if it was measured in the same way. */
export async function finishedResult(
  folder: string,
  flatness: FlatnessSettings,
): Promise<RunResult | undefined> {
  const text = await readFile(join(folder, "result.json"), "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  // Written whole, by this file.
  const kept = JSON.parse(text) as Kept;
  return JSON.stringify(kept.flatness) === JSON.stringify(flatness) ? kept.result : undefined;
}

/**
 * Trains a cell and measures its model, each in a process of its own, resuming where a killed one
 * stopped.
 */
export async function runCell(
  cell: Cell,
  folder: string,
  flatness: FlatnessSettings,
  workers: number,
  signal: AbortSignal,
  onFact: (fact: Fact) => void,
  run: RunCommand,
): Promise<RunResult> {
  makeFolder(folder);
  const trained = join(folder, "run");
  const done = join(folder, "trained");
  const config = join(folder, "settings.json");
  if (!(await exists(done))) {
    await writeJson(config, cell.given);
    // Before its first record there is nothing to resume. After that a run that cannot be resumed
    // is left for a person to look at: hours of work may be in it.
    const begun = await exists(join(trained, "state", "journal"));
    if (!begun) await rm(trained, { recursive: true, force: true });
    await run(
      [
        "simulate",
        ...["--config", config, "--run", trained, "--lab"],
        ...["--workers", String(workers), ...(begun ? ["--resume"] : [])],
      ],
      folder,
      signal,
      onFact,
    );
    await writeJson(done, {});
  }
  if (flatness !== undefined) {
    onFact({ event: "measuring" });
    const measure = join(folder, "flatness.config.json");
    await writeJson(measure, flatness);
    await run(
      [
        "flatness",
        "--config",
        measure,
        "--model",
        join(trained, "model"),
        "--data",
        cell.settings.data,
        ...readingFlags(cell),
        "--out",
        join(folder, "flatness"),
      ],
      folder,
      signal,
      onFact,
    );
  }
  const result: RunResult = {
    ...(await collect(trained)),
    ...(flatness === undefined ? {} : { flatness: await flatnessIn(join(folder, "flatness")) }),
    cpuSeconds: await cpuSeconds(folder),
  };
  await writeJson(join(folder, "result.json"), {
    flatness,
    result,
  } satisfies Kept);
  return result;
}
