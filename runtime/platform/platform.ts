/** What differs between Node and a browser, as one value: node.ts and browser.ts each make one. */
export interface Platform {
  /** Opens a WebSocket. Never throws: a failure arrives as `onClose`. */
  openSocket(url: string, options: SocketOptions): Socket;
  /**
   * Opens (makes) the client's own store under an exclusive lock. @throws ConfigError
   * `state-locked`, `state-unusable`, in a browser `worker-unusable`.
   */
  openState(location: string): Promise<StateStore>;
  /** The client's Ed25519 key from its store, made on first use. */
  identity(store: StateStore): Promise<Identity>;
  /** Starts the worker of training/worker.ts. Never throws: a failure arrives as `onExit`. */
  startWorker(): WorkerPort;
}

export interface SocketOptions {
  /** PEM of a certificate authority, and of the client's own certificate and key (Node only). */
  readonly tls?: {
    readonly ca?: string;
    readonly cert?: string;
    readonly key?: string;
  };
}

/** One WebSocket, or anything that behaves like one (the simulator's connection in memory). */
export interface Socket {
  send(data: string | Uint8Array): void;
  /** `send` has made a copy when it returns: the memory given may be written to again. */
  readonly copies?: boolean;
  close(code?: number, reason?: string): void;
  /** Bytes given to `send` that have not left yet. */
  readonly bufferedAmount: number;
  onOpen?: () => void;
  onMessage?: (data: string | Uint8Array) => void;
  onClose?: (code: number, reason: string) => void;
  /** Everything given to `send` has left. At the aggregator's end only. */
  onDrain?: () => void;
}

/**
 * Named blobs that survive a power cut: a write is whole or has not happened. Names match
 * /^[a-z0-9][a-z0-9.-]*$/.
 */
export interface StateStore {
  get(name: string): Promise<Uint8Array | undefined>;
  put(name: string, bytes: Uint8Array): Promise<void>;
  delete(name: string): Promise<void>;
  /** The names of all blobs. */
  list(): Promise<string[]>;
  close(): Promise<void>;
}

export interface Identity {
  /** Raw Ed25519 public key, 32 bytes. */
  readonly publicKey: Uint8Array;
  /** Ed25519 signature, 64 bytes. */
  sign(message: Uint8Array): Promise<Uint8Array>;
}

export interface WorkerPort {
  post(message: unknown, transfer?: readonly ArrayBuffer[]): void;
  terminate(): void;
  onMessage?: (message: unknown) => void;
  /**
   * The worker has ended: a trap, an out-of-memory, a kill, or a script that cannot be loaded, which
   * the reason names by its address.
   */
  onExit?: (reason: string) => void;
}
