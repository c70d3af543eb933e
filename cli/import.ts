import { basename } from "node:path";
import { ConfigError } from "../runtime/errors.js";
import { networkOf } from "../runtime/models/network.js";
import { counted } from "./counted.js";
import { adapted } from "./interchange/adapted.js";
import { modelOf } from "./interchange/imported.js";
import { filesBeside, readAny, readFileBounded } from "./interchange/read.js";
import { parseJson } from "./json.js";
import { requireNewModel, writeModelTo } from "./model-file.js";
import { withShares } from "./shares.js";
import type { SettingsOf } from "./settings.js";
import { openView } from "./view.js";

/** `fedflat import`: a file of another program becomes a model that a run begins with. */
async function importModel(settings: SettingsOf<"import">): Promise<void> {
  const { source, head, loss, keepBatchNorm, lora, network: described, json } = settings;
  const destination = settings.destination ?? basename(source).replace(/\.[a-z0-9]+$/i, "");
  if (destination === basename(source))
    throw new ConfigError("usage", `"--to" expected a folder for the model, got nothing`);
  await requireNewModel("--to", destination);
  const bytes = await readFileBounded(source);
  const network = described === undefined ? undefined : await readJson(described);
  const imported = await readAny(bytes, {
    ...{ path: source, head, loss, keepBatchNorm, network },
    beside: filesBeside(source),
  });
  const whole = modelOf(imported);
  const read = { ...whole, description: withShares(whole.description, settings) };
  const model = lora === undefined ? read : adapted(read, lora);
  await writeModelTo(destination, model);
  const { layers, layout, input, loss: task } = networkOf(model.description);
  const view = openView(json);
  view.say(
    "imported",
    { source, model: destination, layers: layers.length, parameters: layout.size },
    `${destination}: ${counted(layers.length, "layer")}, ${counted(layout.size, "parameter")}, ${input.join("x")} to ${task.task}.`,
  );
  const isTable = input.length <= 2 && !layers.some(({ type }) => type === "embedding");
  const notes = [
    ...imported.notes,
    ...(isTable
      ? [
          "A run normalises inputs of one or two axes; --normalise none leaves them as they are here.",
        ]
      : []),
  ];
  for (const note of notes) view.say("note", { note }, note);
  view.close();
}

async function readJson(path: string): Promise<unknown> {
  const text = new TextDecoder().decode(await readFileBounded(path));
  return parseJson(text, (got) => new ConfigError("usage", `"${path}" expected JSON, got ${got}`));
}

export { importModel as import };
