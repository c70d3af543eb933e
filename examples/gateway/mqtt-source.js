import { hostname } from "node:os";
import mqtt from "mqtt";

/**
 * Messages of an MQTT topic. The broker keeps what comes while the gateway is away (a session that is not clean, QoS 1).
 * @param settings url, topic, predictions (a topic to write to); the rest goes to MQTT.js: username, password, clientId, ...
 */
export function openMqtt({ url, topic, predictions, ...options }, { onMessage, log }) {
  const client = mqtt.connect(url, {
    clientId: `fedflat-${hostname()}`,
    clean: false,
    ...options,
  });
  client.on("connect", () =>
    client.subscribe(topic, { qos: 1 }, (error) =>
      log(
        error
          ? `No subscription to ${topic}: ${error.message}`
          : `Subscribed to ${topic} at ${url}.`,
      ),
    ),
  );
  client.on("error", (error) => log(`MQTT: ${error.message || error.code}`));
  client.on("message", (_, payload) => onMessage(payload.toString("utf8")));
  return {
    publish(prediction) {
      if (predictions) client.publish(predictions, JSON.stringify(prediction));
    },
    close: () => client.endAsync(),
  };
}
