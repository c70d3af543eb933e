import type { StateStore } from "./platform.js";

/**
 * A store that lasts as long as the process: for the simulator, the load tester, and clients that
 * keep no state.
 */
export function memoryStore(): StateStore {
  const blobs = new Map<string, Uint8Array>();
  return {
    get: async (name) => blobs.get(name)?.slice(),
    put: async (name, bytes) => void blobs.set(name, bytes.slice()),
    delete: async (name) => void blobs.delete(name),
    list: async () => [...blobs.keys()],
    close: async () => {},
  };
}
