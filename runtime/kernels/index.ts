/**
 * Our kernels for plain TensorFlow.js (docs/tfjs-kernels.md).
 *
 * @module fedflat/kernels
 */

import "@tensorflow/tfjs-backend-wasm";
import { env } from "@tensorflow/tfjs-core";
import type { KernelBuild } from "../wasm/kernels.js";
import { startedBackend } from "../wasm/tfjs-heap.js";
import { avgPoolGrad } from "./avg-pool-grad.js";
import { batchMatMul } from "./batch-mat-mul.js";
import { conv2dBackpropFilter } from "./conv2d-backprop-filter.js";
import { conv2dBackpropInput } from "./conv2d-backprop-input.js";
import { conv2d } from "./conv2d.js";
import { depthwiseConv2d, fusedDepthwiseConv2d } from "./depthwise-conv2d.js";
import { depthwiseConv2dBackpropFilter } from "./depthwise-conv2d-backprop-filter.js";
import { depthwiseConv2dBackpropInput } from "./depthwise-conv2d-backprop-input.js";
import { fusedConv2d } from "./fused-conv2d.js";
import { fusedMatMul } from "./fused-mat-mul.js";
import { lentBy } from "./instance.js";
import { maxPoolGrad } from "./max-pool-grad.js";
import { register } from "./registration.js";
import { unsortedSegmentSum } from "./unsorted-segment-sum.js";

export { changedInPlace } from "../wasm/tfjs-heap.js";

/**
 * `import "fedflat/kernels"` puts our kernels into the user's own tfjs, under the names that tfjs
 * knows them by, so that plain tfjs code trains conv2d, conv1d, depthwiseConv2d and gather on the
 * wasm backend. It may stand before or after `tf.setBackend("wasm")`; nothing else has to be
 * called. tfjs's own kernels do what ours cannot (dilated convolutions), and activations other than
 * ReLU.
 */
register(avgPoolGrad);
register(batchMatMul);
register(conv2d);
register(conv2dBackpropFilter);
register(conv2dBackpropInput);
register(depthwiseConv2d);
register(depthwiseConv2dBackpropFilter);
register(depthwiseConv2dBackpropInput);
register(fusedConv2d);
register(fusedDepthwiseConv2d);
register(fusedMatMul);
register(maxPoolGrad);
register(unsortedSegmentSum);

// Our module cannot import the shared memory of tfjs's threaded build.
env().set("WASM_HAS_MULTITHREAD_SUPPORT", false);

/**
 * Starts tfjs's wasm backend, makes it the active one and proves that our kernels run on it: what would otherwise be found
 * out at the first convolution. Returns the build that this engine takes.
 * @throws ConfigError `tfjs-start`, `tfjs-version` or `tfjs-threads`.
 */
export async function kernelsReady(): Promise<KernelBuild> {
  return lentBy(await startedBackend()).build;
}
