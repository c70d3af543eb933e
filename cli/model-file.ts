import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { FedflatError, ModelError } from "../runtime/errors.js";
import { loadModel, modelMetadata, writeModel, type Model } from "../runtime/models/model.js";
import { inWords } from "../runtime/platform/system-errors.js";
import { readMetadata } from "../runtime/tensors/safetensors.js";
import { inFile } from "./in-file.js";
import { requireNew, writeFiles } from "./write.js";

/**
 * Where a model's file lies: itself, its folder, the folder of a run, or of the state of a client
 * that made a personal one.
 */
const PLACES = ["", "weights.safetensors", join("model", "weights.safetensors"), "personal"];

/**
 * The model of a run, of its model folder, of a client's state, or of a file.
 * @param flag by which the path was given
 * @param say told what of the model is not as it was trained, if anything
 * @throws ModelError `model-file` where there is none, else what is wrong with the file, by its path
 */
export async function readModel(
  path: string,
  flag = "--model",
  say: (note: string) => void = () => {},
): Promise<Model> {
  let problem: unknown;
  for (const place of PLACES) {
    const file = join(path, place);
    try {
      const bytes = await readFile(file);
      const model = loadModel(bytes);
      const note = noteOn(model);
      // What a client personalised has its own layers.
      if (note !== undefined && readMetadata(bytes)["of"] === undefined) say(note);
      return model;
    } catch (error) {
      if (error instanceof FedflatError) throw inFile(file, error);
      problem ??= isCode(error, "EISDIR") ? undefined : error;
    }
  }
  throw new ModelError(
    "model-file",
    `"${flag}" expected a run's folder, a model's folder, its weights.safetensors, or the state folder of a client that made a personal model (join --personalise), got ${problem === undefined || isCode(problem, "ENOENT") ? `"${path}", where there is none` : `${inWords(problem)}, "${path}"`}`,
  );
}

function noteOn({ description }: Model): string | undefined {
  const own = description.layers.flatMap((layer, index) => (layer.personal ? [index] : []));
  if (own.length === 0) return undefined;
  const [subject, are] =
    own.length === 1
      ? [`Layer ${own[0]} is`, "it is"]
      : [`Layers ${own.join(", ")} are`, "they are"];
  return `${subject} personal: here ${are} as a run begins with, untrained by it. Each client has its own; join --personalise leaves a client's whole model as the file personal in its state folder.`;
}

const isCode = (error: unknown, code: string): boolean =>
  error instanceof Error && "code" in error && error.code === code;

/** Whether a path is of a model's one file, and not of the folder of one. */
const isFile = (path: string): boolean => path.endsWith(".safetensors");

/** @throws ConfigError `usage` where a model would be written over or beside something */
export const requireNewModel = (flag: string, path: string): Promise<void> =>
  requireNew(flag, path, isFile(path) ? "file" : "folder");

/**
 * Writes a model: to a file, where the path ends in `.safetensors`, else into a folder as a run
 * does, `weights.safetensors` with the card beside it to be read.
 */
export async function writeModelTo(path: string, model: Model): Promise<void> {
  const bytes = writeModel(model);
  if (isFile(path)) return writeFiles([[path, bytes]]);
  const card: unknown = JSON.parse(modelMetadata(model)["model"]);
  await writeFiles([
    [join(path, "weights.safetensors"), bytes],
    [join(path, "model.json"), `${JSON.stringify(card, null, 2)}\n`],
  ]);
}
