// The aggregator: hands out the model, gathers what the participants learn, and keeps each round in
// runs/. `node aggregator.js` runs it alone.
import { Aggregator, initialModel, listen } from "fedflat/aggregator";
import { model } from "./data.js";

// Beyond this machine (FEDFLAT_HOST=0.0.0.0) a participant needs the token. What a run on a public
// network also needs (TLS, enrolment, a service's unit) is in docs/operations.md of fedflat.
const { FEDFLAT_HOST: host = "127.0.0.1", FEDFLAT_PORT: port = 7400 } = process.env;
const token = process.env.FEDFLAT_TOKEN;

async function open() {
  const aggregator = await Aggregator.open({
    model: initialModel(model, "first weights"),
    folder: `runs/${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}`,
    settings: { rounds: 10, gather: 2, minimum: 1, localEpochs: 2, batchSize: 16, zeta: 0.15 },
    admission: token ? { kind: "token", token } : { kind: "any" },
  });
  aggregator.on("round", ({ round, participants, lossAfter }) =>
    console.log(
      `Round ${round}: ${participants.length} took part, loss ${lossAfter.toPrecision(3)}.`,
    ),
  );
  const server = await listen(aggregator, { host, port: Number(port) });
  console.log(
    `The aggregator is at ${server.url}; its live page at ${server.url.replace("ws", "http")}`,
  );
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => void aggregator.stop());
  void aggregator.done.then(async ({ rounds }) => {
    await aggregator.stop();
    await server.close();
    console.log(`The aggregator has ended after ${rounds} rounds.`);
  });
  return server.url;
}

export const url = await open().catch(({ message }) => {
  console.error(`aggregator: ${message}`);
  process.exit(1);
});
