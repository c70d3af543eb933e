// A participant: trains on its own examples when it is asked, until the run ends.
import { FederatedClient } from "fedflat";
import { examples } from "./data.js";

const { FEDFLAT_URL: url = "ws://127.0.0.1:7400", FEDFLAT_TOKEN: token } = process.env;
const { FEDFLAT_NAME: name = "client" } = process.env;
const say = (text) => console.log(`${name}: ${text}`);

const client = new FederatedClient({
  url,
  token,
  state: `state/${name}`, // its key and what it has not sent yet
  data: () => examples(name),
  limits: { modelBytes: 5e6, memoryBytes: 100e6, seconds: 600 },
  available: () => true, // or why not now: "on battery"
});
client.on("line", ({ up, reason }) => say(up ? "connected" : `no line to ${url} (${reason})`));
client.on("assignment", ({ round, what, message }) => {
  if (message) say(`round ${round}: ${what}: ${message}`);
});
client.on("problem", ({ message }) => say(message));
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => void client.stop());

try {
  const { message, model } = await client.run();
  say(message);
  if (model) {
    const { x, y } = examples("test");
    const right = (await client.predict(x)).filter(({ label }, i) => label === y[i]);
    say(`the model is right for ${right.length} of ${y.length} new examples`);
  }
} catch (error) {
  console.error(`${name}: ${error.message}`);
  process.exitCode = 1;
}
