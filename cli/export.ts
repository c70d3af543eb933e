import { writeOnnx } from "./interchange/onnx-writer.js";
import { readModel } from "./model-file.js";
import type { SettingsOf } from "./settings.js";
import { openView } from "./view.js";
import { writeWhole } from "./write.js";

/** `fedflat export`: a model as the file of another program. */
async function exportModel({ trained, to, exported, json }: SettingsOf<"export">): Promise<void> {
  const model = await readModel(trained);
  const destination = exported ?? `model.${to}`;
  const bytes = writeOnnx(model);
  await writeWhole(destination, bytes);
  const view = openView(json);
  view.say(
    "exported",
    { model: trained, file: destination, bytes: bytes.length },
    `${destination}: ${bytes.length} bytes.`,
  );
  view.close();
}

export { exportModel as export };
