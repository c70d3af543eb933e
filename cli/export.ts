import { join } from "node:path";
import { merged } from "../runtime/models/merged.js";
import type { Model } from "../runtime/models/model.js";
import { readModel } from "./model-file.js";
import type { SettingsOf } from "./settings.js";
import { openView } from "./view.js";
import { requireNew, writeFiles } from "./write.js";

type Content = string | Uint8Array;

interface Format {
  /** Where it goes unless the person says so. */
  readonly name: string;
  readonly what: "file" | "folder";
  /** The bytes of a file, or the files of a folder by name. */
  write(model: Model): Promise<Content | Readonly<Record<string, Content>>>;
}

const FORMATS: Readonly<Record<SettingsOf<"export">["to"], Format>> = {
  onnx: {
    ...{ name: "model.onnx", what: "file" },
    write: async (model) => (await import("./interchange/onnx-writer.js")).writeOnnx(model),
  },
  keras: {
    ...{ name: "model.keras", what: "file" },
    write: async (model) => (await import("./interchange/keras-writer.js")).writeKeras(model),
  },
  tfjs: {
    ...{ name: "model-tfjs", what: "folder" },
    write: async (model) => ({
      ...(await import("./interchange/tfjs-writer.js")).writeTfjs(model),
    }),
  },
  torch: {
    ...{ name: "model-torch", what: "folder" },
    write: async (model) => ({
      ...(await import("./interchange/torch-writer.js")).writeTorch(model),
    }),
  },
};

/** `fedflat export`: a model as the file, or the folder of files, of another program. */
async function exportModel(settings: SettingsOf<"export">): Promise<void> {
  const { trained, to, exported, json } = settings;
  const { name, what, write } = FORMATS[to];
  const destination = exported ?? name;
  await requireNew("--out", destination, what);
  const notes: string[] = [];
  const model = merged(await readModel(trained, "trained", (note) => notes.push(note)));
  const written = await write(model);
  await writeFiles(
    typeof written === "string" || written instanceof Uint8Array
      ? [[destination, written]]
      : Object.entries(written).map(([file, content]) => [join(destination, file), content]),
  );
  const view = openView(json);
  view.say(
    "exported",
    { model: trained, to, path: destination },
    `${trained} is in ${destination}.`,
  );
  for (const note of notes) view.say("note", { note }, note);
  view.close();
}

export { exportModel as export };
