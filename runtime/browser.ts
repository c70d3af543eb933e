import { FederatedClient as Client, type ClientOptions } from "./client.js";
import { browserPlatform } from "./platform/browser.js";

export * from "./index.js";

/**
 * The client in a browser tab or an Electron renderer. `state` is the name of a database of its
 * own.
 */
export class FederatedClient extends Client {
  constructor(options: Omit<ClientOptions, "tls">) {
    super(options, browserPlatform);
  }
}
