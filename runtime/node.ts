/**
 * The client, in a program of yours on Node (docs/client.md).
 *
 * @module fedflat
 */

import { FederatedClient as Client, type ClientOptions } from "./client.js";
import { nodePlatform, type NodeOptions } from "./platform/node.js";

export * from "./index.js";
export type { NodeOptions } from "./platform/node.js";

/**
 * The client on Node, and in Electron's main and utility processes. `state` is a folder of its own.
 */
export class FederatedClient extends Client {
  constructor(options: ClientOptions & NodeOptions) {
    super(options, nodePlatform(options));
  }
}
