import "@tensorflow/tfjs-backend-cpu";
import "@tensorflow/tfjs-backend-wasm";
import * as tf from "@tensorflow/tfjs-core";

// The gradients, which in Node only a bundler reaches; the package @tensorflow/tfjs brings them.
await import(process.env.TFJS_GRADIENTS);

export { tf };
const SHAPES = [[5, 5, 1, 16], [16], [5, 5, 16, 32], [32], [512, 128], [128], [128, 10], [10]];
const sizes = SHAPES.map((shape) => shape.reduce((a, b) => a * b));

/** Weights to begin with: He for kernels, zero for biases. */
export function initialWeights(seed) {
  return SHAPES.map((shape, i) =>
    shape.length === 1
      ? tf.zeros(shape)
      : tf.randomNormal(shape, 0, Math.sqrt(2 / (sizes[i] / shape.at(-1))), "float32", seed + i),
  );
}

/** All weights one after the other, as they go over the line. */
export function pack(weights) {
  const packed = new Float32Array(sizes.reduce((a, b) => a + b));
  let offset = 0;
  for (const tensor of weights) {
    packed.set(tensor.dataSync(), offset);
    offset += tensor.size;
  }
  return packed;
}

export function unpack(packed) {
  let offset = 0;
  return SHAPES.map((shape, i) => tf.tensor(packed.subarray(offset, (offset += sizes[i])), shape));
}

export function images(bytes) {
  return tf.tensor(
    Float32Array.from(bytes, (byte) => (byte / 255 - 0.286) / 0.353),
    [bytes.length / 784, 28, 28, 1],
  );
}

export function logits(x, [k1, b1, k2, b2, w3, b3, w4, b4]) {
  let h = tf.maxPool(tf.relu(tf.add(tf.conv2d(x, k1, 1, "valid"), b1)), 2, 2, "valid");
  h = tf.maxPool(tf.relu(tf.add(tf.conv2d(h, k2, 1, "valid"), b2)), 2, 2, "valid");
  h = tf.relu(tf.add(tf.matMul(tf.reshape(h, [x.shape[0], 512]), w3), b3));
  return tf.add(tf.matMul(h, w4), b4);
}
