import type { StateStore } from "../../runtime/platform/platform.js";

/** Cuts the power before operation number `at`: that one and all later ones do not happen. */
export function cutAt(store: StateStore, at: number): StateStore {
  let operations = 0;
  const or = <T>(work: () => Promise<T>) =>
    operations++ < at ? work() : Promise.reject(new Error("no power"));
  return {
    ...store,
    put: (name, bytes) => or(() => store.put(name, bytes)),
    delete: (name) => or(() => store.delete(name)),
  };
}
