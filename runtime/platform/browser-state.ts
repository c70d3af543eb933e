import { ConfigError } from "../errors.js";
import type { Identity, StateStore } from "./platform.js";

const BLOBS = "blobs";
const KEYS = "keys";
const ALGORITHM = "Ed25519";

/** The databases behind the stores that were opened here: a key cannot leave its own as bytes. */
const databases = new WeakMap<StateStore, IDBDatabase>();

/**
 * An IndexedDB database as the client's store, for one tab at a time (a Web Lock).
 * @throws ConfigError `insecure-context`, `state-locked` where another tab has it, `state-unusable`.
 */
export async function openDatabase(name: string): Promise<StateStore> {
  if (!globalThis.isSecureContext)
    throw new ConfigError(
      "insecure-context",
      `"page" expected to be served over https or from localhost, got an insecure context, in which a browser has no keys, locks and workers for fedflat`,
    );
  const unlock = await lock(`fedflat ${name}`);
  let database: IDBDatabase;
  try {
    const opening = indexedDB.open(`fedflat ${name}`, 1);
    opening.onupgradeneeded = () => {
      opening.result.createObjectStore(BLOBS);
      opening.result.createObjectStore(KEYS);
    };
    database = await answer(opening);
  } catch (error) {
    unlock();
    throw new ConfigError(
      "state-unusable",
      `"state" expected a database that can be opened, got ${String(error)}`,
      { cause: error },
    );
  }
  const store: StateStore = {
    async get(blob) {
      const found: unknown = await read(database, BLOBS, (s) => s.get(blob));
      return found instanceof Uint8Array ? found : undefined;
    },
    put: (blob, bytes) => write(database, BLOBS, (s) => s.put(bytes, blob)),
    delete: (blob) => write(database, BLOBS, (s) => s.delete(blob)),
    list: async () => (await read(database, BLOBS, (s) => s.getAllKeys())).map(String),
    async close() {
      database.close();
      unlock();
    },
  };
  databases.set(store, database);
  return store;
}

/**
 * The client's key, made on first use; its private half cannot be read, only used. @throws
 * ConfigError `no-ed25519`.
 */
export async function storedKey(store: StateStore): Promise<Identity> {
  const database = databases.get(store)!;
  const found: unknown = await read(database, KEYS, (s) => s.get(ALGORITHM));
  const pair = isPair(found) ? found : await makeKey(database);
  return {
    publicKey: new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey)),
    sign: async (message) =>
      new Uint8Array(await crypto.subtle.sign(ALGORITHM, pair.privateKey, message.slice())),
  };
}

async function makeKey(database: IDBDatabase, tries = 3): Promise<CryptoKeyPair> {
  let pair: CryptoKeyPair | CryptoKey;
  try {
    pair = await crypto.subtle.generateKey(ALGORITHM, false, ["sign", "verify"]);
  } catch (error) {
    // WebKitGTK fails to make a key now and then.
    if (tries > 1) return makeKey(database, tries - 1);
    throw new ConfigError(
      "no-ed25519",
      `"browser" expected one with Ed25519 keys, got ${String(error)}`,
      { cause: error },
    );
  }
  if (!isPair(pair)) throw new TypeError("generateKey gave no pair of keys");
  await write(database, KEYS, (s) => s.put(pair, ALGORITHM));
  return pair;
}

const isPair = (value: unknown): value is CryptoKeyPair =>
  typeof value === "object" && value !== null && "privateKey" in value;

/** Takes a Web Lock and gives back what releases it. */
function lock(name: string): Promise<() => void> {
  return new Promise((resolve, reject) => {
    void navigator.locks
      .request(name, { ifAvailable: true }, (taken) => {
        if (taken !== null) return new Promise<void>((release) => resolve(release));
        reject(
          new ConfigError(
            "state-locked",
            `"state" expected a database of this client's own, got one that another tab is using`,
          ),
        );
        return undefined;
      })
      .catch(reject);
  });
}

const answer = <T>(request: IDBRequest<T>): Promise<T> =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

const read = <T>(
  database: IDBDatabase,
  store: string,
  ask: (store: IDBObjectStore) => IDBRequest<T>,
): Promise<T> => answer(ask(database.transaction(store).objectStore(store)));

/** Resolves when the change is on disk, as far as the browser can tell. */
function write(
  database: IDBDatabase,
  store: string,
  change: (store: IDBObjectStore) => IDBRequest,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const transaction = database.transaction(store, "readwrite", {
      durability: "strict",
    });
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
    change(transaction.objectStore(store));
  });
}
