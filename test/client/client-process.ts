import type { ClientEvents } from "../../runtime/client.js";
import { FederatedClient } from "../../runtime/node.js";
import { random } from "../../runtime/tensors/random.js";
import { labIdentity } from "../../runtime/platform/node-identity.js";
import { quickTrainer } from "../training/quick-trainer.js";

// A client in a process of its own, with url and state folder as arguments, and for how many epochs
// it personalises the last model, if it does. Tells its parent what it does.

export type Told =
  | { readonly progress: ClientEvents["progress"] }
  | { readonly assignment: ClientEvents["assignment"] }
  | { readonly predicted: readonly unknown[] }
  | { readonly problem: string };

const COUNT = 20;

const [url, state, epochs] = process.argv.slice(2);
const chance = random("client process");
const trainer = quickTrainer();
const client = new FederatedClient({
  url,
  state,
  data: {
    x: Float32Array.from({ length: 4 * COUNT }, () => chance.normal()),
    y: Array.from({ length: COUNT }, () => chance.integer(3)),
  },
  identity: labIdentity("client process", 0),
  trainer,
});
const tell = (told: Told) => void process.send?.(told);
client.on("progress", (progress) => tell({ progress }));
client.on("assignment", (assignment) => tell({ assignment }));
client.on("problem", ({ message }) => tell({ problem: message }));
const { reason } = await client.run();
const x = Float32Array.of(1, -1, 0.5, 2);
const predict = async () => {
  const [one] = await client.predict(x);
  tell({ predicted: one?.task === "classes" ? [...one.probabilities] : [] });
};
if (reason === "finished") await predict();
if (epochs !== undefined) {
  await client.personalise({ epochs: Number(epochs) });
  await predict();
}
trainer.close();
process.disconnect();
