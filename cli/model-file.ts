import { mkdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { FedflatError, ModelError } from "../runtime/errors.js";
import { loadModel, modelMetadata, writeModel, type Model } from "../runtime/models/model.js";
import { inWords } from "../runtime/platform/system-errors.js";
import { writeJson, writeWhole } from "./write.js";

/** Where a model's file lies: itself, its folder, or the folder of a run. */
const PLACES = ["", "weights.safetensors", join("model", "weights.safetensors")];

/**
 * The model of a run, of its model folder, or of a file. @throws ModelError `model-file` where
 * there is none or it is damaged.
 */
export async function readModel(path: string): Promise<Model> {
  let problem: unknown;
  for (const place of PLACES)
    try {
      return loadModel(await readFile(join(path, place)));
    } catch (error) {
      if (error instanceof FedflatError) throw error;
      problem ??= isCode(error, "EISDIR") ? undefined : error;
    }
  throw new ModelError(
    "model-file",
    `"--model" expected a run's folder, a model's folder or its weights.safetensors, got ${problem === undefined || isCode(problem, "ENOENT") ? `"${path}", where there is none` : `${inWords(problem)}, "${path}"`}`,
  );
}

const isCode = (error: unknown, code: string): boolean =>
  error instanceof Error && "code" in error && error.code === code;

/**
 * Writes a model: to a file, where the path ends in `.safetensors`, else into a folder as a run
 * does, `weights.safetensors` with the card beside it to be read.
 */
export async function writeModelTo(path: string, model: Model): Promise<void> {
  const bytes = writeModel(model);
  const file = path.endsWith(".safetensors");
  await mkdir(file ? dirname(path) : path, { recursive: true });
  if (file) return writeWhole(path, bytes);
  await writeWhole(join(path, "weights.safetensors"), bytes);
  await writeJson(join(path, "model.json"), JSON.parse(modelMetadata(model)["model"]));
}
