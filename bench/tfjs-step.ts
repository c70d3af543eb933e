import "@tensorflow/tfjs-backend-cpu";
import "@tensorflow/tfjs-backend-wasm";
import * as tf from "@tensorflow/tfjs-core";
import { registerGradients } from "../test/tfjs/gradients.js";
import type { Network } from "../runtime/models/network.js";
import type { Contender } from "./comparison.js";

/** The same SGD step written as anyone would in plain tfjs, on one of its backends. */
export async function tfjsStep(
  {
    network,
    batch,
    x,
    y,
    weights,
  }: {
    readonly network: Network;
    readonly batch: number;
    readonly x: Float32Array;
    readonly y: Int32Array | Float32Array;
    readonly weights: Float32Array;
  },
  settings: {
    readonly learningRate: number;
    readonly weightDecay: number;
    readonly clipNorm: number;
  },
  backend: "wasm" | "cpu",
  checkedSteps: number,
): Promise<Contender & { weights(): Float32Array }> {
  await registerGradients();
  await tf.setBackend(backend);
  await tf.ready();
  const use = () => void (tf.getBackend() === backend || tf.setBackend(backend));
  const parameters = network.layout.parameters.map(({ shape, offset, size }) =>
    tf.variable(tf.tensor(weights.slice(offset, offset + size), [...shape])),
  );
  const inputs = tf.tensor(x, [batch, ...network.input]);
  const ofInput = network.loss.target.kind === "input";
  const labels = ofInput ? inputs : tf.oneHot(tf.tensor1d(y, "int32"), network.classes);
  const forward = (): tf.Tensor => {
    let h: tf.Tensor = inputs;
    let next = 0;
    for (const layer of network.description.layers) {
      if (layer.type === "conv2d")
        h = tf.add(
          tf.conv2d(h as tf.Tensor4D, parameters[next++] as tf.Tensor4D, 1, "valid"),
          parameters[next++],
        );
      else if (layer.type === "dense")
        h = tf.add(tf.matMul(h, parameters[next++]), parameters[next++]);
      else if (layer.type === "maxPool") h = tf.maxPool(h as tf.Tensor4D, 2, 2, "valid");
      else if (layer.type === "flatten") h = tf.reshape(h, [batch, -1]);
      else throw new Error(`no plain tfjs for ${layer.type} here`);
      if ("activation" in layer && layer.activation === "relu") h = tf.relu(h);
    }
    return h;
  };
  const loss = (): tf.Scalar =>
    ofInput
      ? tf.mean(tf.squaredDifference(forward(), labels))
      : tf.neg(tf.div(tf.sum(tf.mul(labels, tf.logSoftmax(forward()))), batch));
  const step = () => {
    use();
    tf.tidy(() => {
      const { grads } = tf.variableGrads(loss, parameters);
      const gradients = parameters.map(({ name }) => grads[name]);
      const norm = tf.sqrt(tf.addN(gradients.map((g) => tf.sum(tf.square(g)))));
      const scale = tf.minimum(1, tf.div(settings.clipNorm, norm));
      parameters.forEach((p, i) =>
        p.assign(
          tf.sub(
            p,
            tf.mul(
              settings.learningRate,
              tf.add(tf.mul(gradients[i], scale), tf.mul(p, settings.weightDecay)),
            ),
          ),
        ),
      );
    });
    // Waits for the work to be done, as a training loop that reads its loss does.
    parameters[parameters.length - 1].dataSync();
  };
  for (let i = 0; i < checkedSteps; i++) step();
  return {
    name: `tfjs ${backend}`,
    weights() {
      const weights = new Float32Array(network.layout.size);
      network.layout.parameters.forEach(({ offset }, i) =>
        weights.set(parameters[i].dataSync(), offset),
      );
      return weights;
    },
    burst(times) {
      const started = performance.now();
      for (let i = 0; i < times; i++) step();
      return performance.now() - started;
    },
  };
}
