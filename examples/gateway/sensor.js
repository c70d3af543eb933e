// A sensor to try the gateway with: publishes a made-up window of a made-up activity ten times a
// second, each tenth one without saying what it is. `node sensor.js [gateway.json]`
import { readFileSync } from "node:fs";
import mqtt from "mqtt";

const settings = process.argv[2] ?? "gateway.json";
const { url, topic } = JSON.parse(readFileSync(settings, "utf8")).mqtt;
const model = new URL("model.json", import.meta.url);
const { classes } = JSON.parse(readFileSync(model, "utf8"));

/**
 * Each activity sways with a frequency and a strength of its own, in every one of nine channels
 * with another phase.
 */
const windowOf = (activity) =>
  Array.from({ length: 128 }, (_, time) =>
    Array.from({ length: 9 }, (_, channel) => {
      const sway = Math.sin(((activity + 1) * time) / 20 + channel);
      const noise = Math.random() - 0.5;
      return Number((0.2 * (activity + 1) * sway + noise).toFixed(4));
    }),
  );

const client = await mqtt.connectAsync(url);
for (let sent = 0; ; sent++) {
  const activity = Math.floor(Math.random() * classes.length);
  const message = { window: windowOf(activity) };
  if (sent % 10 < 9) message.activity = classes[activity];
  await client.publishAsync(topic, JSON.stringify(message), { qos: 1 });
  await new Promise((next) => setTimeout(next, 100));
}
