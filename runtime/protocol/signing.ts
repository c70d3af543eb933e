/** What a client signs to prove who it is; docs/protocol.md has an example to check against. */
export interface Proof {
  /** 128 bits, lower-case hex, from `challenge`. */
  readonly run: string;
  /**
   * Host, and port where it is not the scheme's own, as the client dialled it, lower case: `new
   * URL(url).host`.
   */
  readonly host: string;
  /** 32 bytes, lower-case hex: from `hello`, and from `challenge`. */
  readonly clientNonce: string;
  readonly serverNonce: string;
}

/**
 * The exact bytes under the signature: five lines of text, joined by line feeds, none at the end.
 */
export const proofBytes = ({
  run,
  host,
  clientNonce,
  serverNonce,
}: Proof): Uint8Array<ArrayBuffer> =>
  new TextEncoder().encode(["fedflat/1 proof", run, host, clientNonce, serverNonce].join("\n"));
