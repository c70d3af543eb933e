import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { writeOnnx } from "./interchange/onnx-writer.js";
import { writeTfjs } from "./interchange/tfjs-writer.js";
import { readModel } from "./model-file.js";
import type { SettingsOf } from "./settings.js";
import { openView } from "./view.js";
import { writeWhole } from "./write.js";

/** `fedflat export`: a model as the file, or the folder of files, of another program. */
async function exportModel(settings: SettingsOf<"export">): Promise<void> {
  const { trained, to, exported, json } = settings;
  const model = await readModel(trained);
  const destination = exported ?? (to === "onnx" ? "model.onnx" : "model-tfjs");
  const files =
    to === "onnx"
      ? [[destination, writeOnnx(model)] as const]
      : Object.entries(writeTfjs(model)).map(
          ([name, content]) => [join(destination, name), content as string | Uint8Array] as const,
        );
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
