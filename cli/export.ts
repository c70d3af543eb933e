import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { merged } from "../runtime/models/merged.js";
import type { Model } from "../runtime/models/model.js";
import { readModel } from "./model-file.js";
import type { SettingsOf } from "./settings.js";
import { openView } from "./view.js";
import { writeWhole } from "./write.js";

type Content = string | Uint8Array;

/** What a format is written as: one file, or the files of a folder. */
const FORMATS = {
  onnx: async (model: Model): Promise<Content> =>
    (await import("./interchange/onnx-writer.js")).writeOnnx(model),
  keras: async (model: Model): Promise<Content> =>
    (await import("./interchange/keras-writer.js")).writeKeras(model),
  tfjs: async (model: Model): Promise<object> =>
    (await import("./interchange/tfjs-writer.js")).writeTfjs(model),
  torch: async (model: Model): Promise<object> =>
    (await import("./interchange/torch-writer.js")).writeTorch(model),
} as const;

const DESTINATIONS = {
  ...{ onnx: "model.onnx", keras: "model.keras", tfjs: "model-tfjs", torch: "model-torch" },
} as const;

/** `fedflat export`: a model as the file, or the folder of files, of another program. */
async function exportModel(settings: SettingsOf<"export">): Promise<void> {
  const { trained, to, exported, json } = settings;
  const model = merged(await readModel(trained));
  const destination = exported ?? DESTINATIONS[to];
  const written = await FORMATS[to](model);
  const files: (readonly [string, Content])[] =
    typeof written === "string" || written instanceof Uint8Array
      ? [[destination, written]]
      : Object.entries(written).map(([name, content]: [string, Content]) => [
          join(destination, name),
          content,
        ]);
  await mkdir(dirname(files[0][0]), { recursive: true });
  for (const [path, content] of files) await writeWhole(path, content);
  const view = openView(json);
  view.say(
    "exported",
    { model: trained, to, path: destination },
    `${trained} is in ${destination}.`,
  );
  view.close();
}

export { exportModel as export };
