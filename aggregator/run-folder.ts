import { appendFile, readFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { ConfigError } from "../runtime/errors.js";
import { nodeFiles, writeWhole } from "./storage/file-layer.js";

/**
 * A run's folder, for people and their programs:
 *
 *     config.json        what was asked for
 *     rounds.jsonl       one line for each committed round: only what seed and data determine
 *     evaluations.jsonl  one line for each evaluated round, likewise
 *     timings.jsonl      what differs from run to run: durations, bytes
 *     model/             weights.safetensors and model.json of the last committed round
 *     summary.md
 *     state/             the ledger (storage/files.ts), from which all the rest could be made again
 */
export interface RunFolder {
  /** Goes on from the committed lines; whatever else stands in the files is dropped. */
  begin(config: unknown, lines: readonly object[]): Promise<void>;
  round(line: object, timings: object): Promise<void>;
  model(weights: Uint8Array, card: object): Promise<void>;
  evaluation(line: object): Promise<void>;
  summary(text: string): Promise<void>;
}

/** Where the ledger of a run lies. */
export const stateFolder = (folder: string): string => join(folder, "state");

/**
 * Refuses a folder that does not fit the intention.
 * @throws ConfigError `run-exists`, `nothing-to-resume`.
 */
export function requireRunFolder(folder: string, resume: boolean): void {
  const exists = existsSync(join(stateFolder(folder), "journal"));
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

export function openRunFolder(folder: string): RunFolder {
  const encoder = new TextEncoder();
  const write = (name: string, text: string) =>
    writeWhole(nodeFiles, folder, name, encoder.encode(text));
  const append = (name: string, line: object) =>
    appendFile(join(folder, name), jsonl([line]));
  return {
    async begin(config, lines) {
      await nodeFiles.makeFolder(join(folder, "model"));
      await write("config.json", JSON.stringify(config, null, 2) + "\n");
      await write("rounds.jsonl", jsonl(lines));
      const evaluations = await linesOf(join(folder, "evaluations.jsonl"));
      await write(
        "evaluations.jsonl",
        jsonl(evaluations.filter(({ round }) => round <= lines.length)),
      );
    },
    async round(line, timings) {
      await append("rounds.jsonl", line);
      await append("timings.jsonl", timings);
    },
    async model(weights, card) {
      const model = join(folder, "model");
      await writeWhole(nodeFiles, model, "weights.safetensors", weights);
      await writeWhole(
        nodeFiles,
        model,
        "model.json",
        encoder.encode(JSON.stringify(card, null, 2) + "\n"),
      );
    },
    evaluation: (line) => append("evaluations.jsonl", line),
    summary: (text) => write("summary.md", text),
  };
}

/** The lines of a run's folder, each list in order of rounds, as far as they are there. */
export async function readRunFolder(folder: string): Promise<{
  readonly rounds: readonly RunFolderLine[];
  readonly evaluations: readonly RunFolderLine[];
  readonly timings: readonly RunFolderLine[];
}> {
  const [rounds, evaluations, timings] = await Promise.all(
    ["rounds", "evaluations", "timings"].map((name) =>
      linesOf(join(folder, `${name}.jsonl`)),
    ),
  );
  return { rounds, evaluations, timings };
}

export type RunFolderLine = { readonly round: number } & Readonly<
  Record<string, unknown>
>;

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
