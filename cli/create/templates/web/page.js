// One tab is one participant, and trains in a worker of its own.
import { FederatedClient } from "fedflat";
import { examples } from "./data.js";

const url = import.meta.env.VITE_FEDFLAT_URL ?? "ws://127.0.0.1:7400";
const at = (id) => document.getElementById(id);
const status = (text) => (at("status").textContent = text);
const test = examples("test");

/** Takes part as one of this browser's participants. */
async function takePart(name) {
  const client = new FederatedClient({ url, state: name, data: () => examples(name) });
  client.on("line", ({ up, reason }) =>
    status(up ? `${name} is connected.` : `No line to ${url} (${reason}).`),
  );
  client.on("wait", ({ reason }) => status(reason));
  client.on("progress", ({ round, batch, batches, loss }) => {
    status(`${name} trains for round ${round}.`);
    at("progress").value = batch / batches;
    at("loss").textContent = loss.toPrecision(3);
  });
  client.on("assignment", ({ round, what, message }) => {
    if (message) status(`Round ${round}: ${what}: ${message}`);
  });
  client.on("model", async ({ round }) => {
    const right = (await client.predict(test.x)).filter(({ label }, i) => label === test.y[i]);
    at("round").textContent = round;
    at("accuracy").textContent = `${((100 * right.length) / test.y.length).toFixed(1)} %`;
  });
  client.on("problem", ({ message }) => status(message));
  return client.run();
}

/** A state belongs to one tab at a time, so a tab takes the first that no other tab has. */
async function takePartAsNext() {
  for (let tab = 1; ; tab++)
    try {
      return await takePart(`tab-${tab}`);
    } catch (error) {
      if (error.code !== "state-locked") throw error;
    }
}

takePartAsNext().then(
  ({ message }) => status(message),
  ({ message }) => status(message),
);
