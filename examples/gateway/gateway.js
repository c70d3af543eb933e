import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { FederatedClient } from "fedflat";
import { parseMessage, SHAPE } from "./message.js";
import { hours } from "./night.js";
import { openWindows } from "./windows.js";

/** Fewer windows than this are not worth a night. */
const ENOUGH = 50;
/** A run that is finished may be followed by another. */
const NEXT_RUN_MS = 600_000;

/**
 * Keeps the newest labelled windows of a source, trains on them at night, and says what the newest model takes the others
 * for. Runs until `signal` aborts.
 * @param settings what gateway.json holds
 * @param surroundings `now` gives the time as a Date
 * @throws Error where the aggregator will not have this gateway
 */
export async function gateway(settings, { signal, log = console.log, now = () => new Date() }) {
  const { aggregator, token, state, night, keep = 2000 } = settings;
  const isNight = hours(night);
  mkdirSync(state, { recursive: true, mode: 0o700 });
  const windows = openWindows(join(state, "windows.bin"), {
    capacity: keep,
    size: SHAPE[0] * SHAPE[1],
  });
  log(`${windows.count} windows are on disk.`);

  const client = new FederatedClient({
    url: aggregator,
    token,
    state: join(state, "client"),
    data: ({ classes }) => windows.examples(classes),
    limits: { modelBytes: 5e6, memoryBytes: 100e6, seconds: 1800 },
    available: () => {
      if (windows.count < ENOUGH) return `has ${windows.count} windows`;
      return isNight(now()) || "waits for the night";
    },
  });
  client.on("line", ({ up, reason, retryIn }) =>
    log(
      up
        ? `Connected to ${aggregator}.`
        : `No line to ${aggregator} (${reason}), again in ${(retryIn / 1000).toFixed(1)} s.`,
    ),
  );
  client.on("assignment", ({ round, what, message }) => {
    if (what === "committed") log(`Round ${round}: trained, and in the model.`);
    if (message) log(`Round ${round}: ${what}: ${message}`);
  });
  client.on("problem", ({ message }) => log(`Problem: ${message}`));

  const source = await openSource(settings, {
    log,
    position: windows.position,
    onMessage(text, position) {
      try {
        const { values, activity } = parseMessage(text);
        if (activity !== undefined) windows.add(activity, values, position);
        else void predict(values);
      } catch (error) {
        log(`A message was left out: ${error.message}`);
      }
    },
  });

  async function predict(values) {
    try {
      const [{ label, name, probabilities }] = await client.predict(values);
      source.publish?.({ activity: name, probability: probabilities[label] });
      log(`${name} (${(100 * probabilities[label]).toFixed(0)} %)`);
    } catch (error) {
      // Before the first round is committed there is no model, and nothing to say.
      if (error.code !== "no-model") log(`No prediction: ${error.message}`);
    }
  }

  signal.addEventListener("abort", () => void client.stop());
  try {
    while (!signal.aborted) {
      const { reason, message } = await client.run();
      if (reason === "stopped") break;
      if (reason !== "finished") throw new Error(`${reason}: ${message}`);
      log(`The run is finished. ${message}`);
      await wait(NEXT_RUN_MS, undefined, { signal }).catch(() => {});
    }
  } finally {
    await source.close();
    windows.close();
  }
}

/** The source that the settings name; its library is loaded only where it is used. */
async function openSource({ mqtt, file }, handlers) {
  if ((mqtt === undefined) === (file === undefined))
    throw new Error(`"gateway.json" expected either mqtt or file`);
  return mqtt
    ? (await import("./mqtt-source.js")).openMqtt(mqtt, handlers)
    : (await import("./file-source.js")).openFile(file, handlers);
}
