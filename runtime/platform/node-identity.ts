import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  sign,
  type KeyObject,
} from "node:crypto";
import { ConfigError } from "../errors.js";
import { sha256, sha256Hex } from "./node-sha256.js";
import type { Identity, StateStore } from "./platform.js";

/** Where the key lies in the store, as PKCS #8 (DER). */
const KEY = "key";
/** PKCS #8 of an Ed25519 key, up to its 32 bytes of seed (RFC 8410). */
const PKCS8_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex");

/** The client's Ed25519 key, made and kept on first use. @throws ConfigError `key-unreadable`. */
export async function storedIdentity(store: StateStore): Promise<Identity> {
  const stored = await store.get(KEY);
  if (stored !== undefined) {
    try {
      const key = createPrivateKey({
        key: Buffer.from(stored),
        format: "der",
        type: "pkcs8",
      });
      if (key.asymmetricKeyType === "ed25519") return identityOf(key);
    } catch {
      // Said below.
    }
    throw new ConfigError(
      "key-unreadable",
      `"state" expected an Ed25519 key in the file "${KEY}", got something else: restore it, or remove it to become a new client`,
    );
  }
  const { privateKey } = generateKeyPairSync("ed25519");
  await store.put(KEY, privateKey.export({ format: "der", type: "pkcs8" }));
  return identityOf(privateKey);
}

/**
 * The key of client `index` in a laboratory: the same seed and index give the same client
 * everywhere. No secret.
 */
export function labIdentity(seed: string, index: number): Identity {
  const digest = sha256(["fedflat lab identity", seed, index].join("\0"));
  return identityOf(
    createPrivateKey({
      key: Buffer.concat([PKCS8_PREFIX, digest]),
      format: "der",
      type: "pkcs8",
    }),
  );
}

/** The id of a client: SHA-256 of its raw public key, 64 hex digits. */
export const clientId = ({ publicKey }: Identity): string => sha256Hex(publicKey);

function identityOf(key: KeyObject): Identity {
  const spki = createPublicKey(key).export({ format: "der", type: "spki" });
  return {
    publicKey: new Uint8Array(spki.subarray(-32)),
    sign: async (message) => new Uint8Array(sign(null, message, key)),
  };
}
