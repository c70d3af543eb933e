import { readFileSync } from "node:fs";
import { WebSocket } from "ws";
import { images, logits, pack, tf, unpack } from "./model.js";

const [url, folder, name, backend, kernels] = process.argv.slice(2);
const BATCH = 50;
const EPOCHS = 2;
const RATE = 0.1;

if (kernels) await import(kernels);
await tf.setBackend(backend);
const x = images(readFileSync(`${folder}/${name}.x`));
const y = new Uint8Array(readFileSync(`${folder}/${name}.y`));

function train(packed) {
  const variables = unpack(packed).map((tensor) => tf.variable(tensor));
  for (let epoch = 0; epoch < EPOCHS; epoch++) {
    const order = [...tf.util.createShuffledIndices(y.length)];
    for (let start = 0; start < order.length; start += BATCH)
      tf.tidy(() => {
        const rows = order.slice(start, start + BATCH);
        const batch = tf.gather(x, tf.tensor1d(rows, "int32"));
        const labels = tf.oneHot(
          tf.tensor1d(
            rows.map((row) => y[row]),
            "int32",
          ),
          10,
        );
        const loss = () =>
          tf.neg(tf.mean(tf.sum(tf.mul(labels, tf.logSoftmax(logits(batch, variables))), 1)));
        const { grads } = tf.variableGrads(loss, variables);
        for (const variable of variables)
          variable.assign(tf.sub(variable, tf.mul(RATE, grads[variable.name])));
      });
  }
  const trained = pack(variables);
  tf.dispose(variables);
  return trained;
}

const socket = new WebSocket(url);
socket.binaryType = "arraybuffer";
socket.on("message", (data) => socket.send(train(new Float32Array(data))));
socket.on("close", () => process.exit());
