import { randomBytes } from "node:crypto";
import type { ClientMessageOf } from "../../runtime/protocol/client-messages.js";
import { PROTOCOL } from "../../runtime/protocol/messages.js";
import { clientIdOf, notAdmitted, provenBy, wrongKey, type Admission } from "./authentication.js";

export type Hello = ClientMessageOf<"hello">;

/** Finds out which client is at the other end of a connection (docs/protocol.md, section 4). */
export interface Handshake {
  /** The client's id, as it says itself; empty before `hello`. */
  readonly client: string;
  /** The client says hello, once. */
  greet(hello: Hello): void;
  /** The client proves its id, once; `admitted` or `refused` tells the result. */
  prove(proof: ClientMessageOf<"proof">): Promise<void>;
  /** The message that has to come next. */
  readonly next: "hello" | "proof" | undefined;
}

/** Why a client is turned away: the reason of the close frame. */
export type Refused = "version" | "not-admitted" | "too-many-clients";

export function openHandshake(options: {
  readonly run: string;
  /** The `Host` header, which the client must have signed. */
  readonly host: string;
  readonly admission: Admission;
  readonly hasRoomFor: (client: string) => boolean;
  /** Sends the server's nonce. */
  readonly challenge: (nonce: string) => void;
  readonly admitted: (hello: Hello) => void;
  readonly refused: (code: Refused, reason: string) => void;
}): Handshake {
  const { run, host, refused } = options;
  const serverNonce = randomBytes(32).toString("hex");
  let hello: Hello | undefined;
  let client = "";
  let next: Handshake["next"] = "hello";
  return {
    get client() {
      return client;
    },
    get next() {
      return next;
    },

    greet(said) {
      const [min, max] = said.protocol;
      if (min > PROTOCOL || max < PROTOCOL)
        return refused(
          "version",
          `"protocol" expected to include ${PROTOCOL}, got ${min} to ${max}`,
        );
      const wrong = wrongKey(said.key);
      if (wrong !== undefined) return refused("not-admitted", wrong);
      hello = said;
      client = clientIdOf(said.key);
      next = "proof";
      options.challenge(serverNonce);
    },

    async prove({ signature, token }) {
      const { key, nonce: clientNonce } = hello!;
      next = undefined;
      const wrong = provenBy(key, { run, host, clientNonce, serverNonce }, signature)
        ? await notAdmitted(options.admission, client, token)
        : `"signature" expected one over ${host} by the key of hello, got another`;
      if (wrong !== undefined) return refused("not-admitted", wrong);
      if (options.hasRoomFor(client)) return options.admitted(hello!);
      refused("too-many-clients", "the run has as many clients as it may");
    },
  };
}
