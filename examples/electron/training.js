// The utility process: one client, which tells the main process how it goes and is told when to
// pause.
import { FederatedClient } from "fedflat";
import { examples } from "./data.js";

const { FEDFLAT_URL: url, FEDFLAT_STATE: state } = process.env;
const tell = (change) => process.parentPort.postMessage(change);

const own = examples(state);
const test = examples("test");
const client = new FederatedClient({
  url,
  state,
  data: own,
  limits: { modelBytes: 20e6, memoryBytes: 300e6, seconds: 600 },
});

client.on("line", ({ up, reason }) =>
  tell({
    status: up
      ? `Connected; ${own.y.length} examples stay here.`
      : `No line to ${url} (${reason}).`,
  }),
);
client.on("wait", ({ reason }) => tell({ status: reason }));
client.on("progress", ({ round, batch, batches, loss }) =>
  tell({ status: `Trains for round ${round}.`, round, batch, batches, loss }),
);
client.on("assignment", ({ round, what, message }) => {
  if (what === "committed") tell({ status: `Round ${round} is in the model.`, batch: 0 });
  if (message) tell({ status: `Round ${round}: ${what}: ${message}` });
});
client.on("model", async ({ round }) => {
  const predictions = await client.predict(test.x);
  const right = predictions.filter(({ label }, i) => label === test.y[i]);
  tell({ accuracy: { round, share: right.length / predictions.length } });
});
client.on("problem", ({ message }) => tell({ status: message }));

let paused = false;
let resume = () => {};
process.parentPort.on("message", ({ data }) => {
  paused = data.paused;
  if (paused) void client.stop();
  else resume();
});

/** Takes part until the run ends, with as many pauses as are asked for. */
async function takePart() {
  for (;;) {
    const { reason, message } = await client.run();
    if (reason !== "stopped") return `${reason}: ${message}`;
    tell({ status: "Paused.", batch: 0 });
    while (paused) await new Promise((next) => (resume = next));
  }
}

takePart().then(
  (status) => tell({ status, batch: 0, ended: true }),
  ({ message }) => tell({ status: message, batch: 0, ended: true }),
);
