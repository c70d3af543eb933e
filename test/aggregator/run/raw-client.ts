import {
  createHash,
  createPrivateKey,
  createPublicKey,
  randomBytes,
  sign,
  type KeyObject,
} from "node:crypto";
import WebSocket from "ws";

/**
 * A client written from docs/protocol.md alone: it shares no code with the package. It does what it
 * is told to, frame by frame, so that tests can also send what no good client would; `work()` lets
 * it take part in rounds by itself.
 */

export interface Message {
  readonly type: string;
  // Whatever stands in a message of that type: this client trusts the server it tests.
  // eslint-disable-next-line
  readonly [field: string]: any;
}

export interface RawOptions {
  readonly url: string;
  /** Makes the key; the same seed is the same client. */
  readonly seed: string;
  /** Null says nothing of how many. */
  readonly samples?: number | null;
  /** As many as the model has activations that MAN counts. */
  readonly activationNorms?: readonly number[];
  readonly algorithms?: readonly string[];
  readonly layers?: readonly string[];
  readonly codecs?: readonly string[];
  /** The forms of models that it says it reads; says nothing where not given. */
  readonly models?: readonly string[];
  readonly token?: string;
  /** Known from a line before. */
  readonly run?: string;
  readonly pending?: readonly object[];
  readonly counted?: object | null;
  /** Another name than the one dialled, for a proof that is worth nothing. */
  readonly signedHost?: string;
  /** Dials wss without a look at the certificate. */
  readonly insecure?: boolean;
  /** The address of this machine to dial from. */
  readonly from?: string;
  /** More headers of the upgrade request. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Milliseconds after which what is waited for has not come. */
  readonly patience?: number;
}

export const sha256 = (bytes: Uint8Array): string =>
  createHash("sha256").update(bytes).digest("hex");

/** Hashes of updates: many clients may send the same one. */
const updateHashes = new WeakMap<Uint8Array, string>();

function hashOfUpdate(update: Uint8Array): string {
  const hash = updateHashes.get(update) ?? sha256(update);
  updateHashes.set(update, hash);
  return hash;
}

function keyFrom(seed: string): KeyObject {
  const prefix = Buffer.from("302e020100300506032b657004220420", "hex");
  const secret = createHash("sha256").update(seed).digest();
  return createPrivateKey({
    key: Buffer.concat([prefix, secret]),
    format: "der",
    type: "pkcs8",
  });
}

export class RawClient {
  readonly id: string;
  /** Everything received, in order. */
  readonly messages: Message[] = [];
  readonly chunks: Uint8Array[] = [];
  closed: { code: number; reason: string } | undefined;
  welcome: Message | undefined;
  readonly #socket: WebSocket;
  readonly #key: KeyObject;
  readonly #publicKey: string;
  readonly #options: RawOptions;
  readonly #nonce = randomBytes(32).toString("hex");
  #watchers: (() => void)[] = [];
  #taken = new Set<Message>();
  #transfers = 1;

  constructor(options: RawOptions) {
    this.#options = options;
    this.#key = keyFrom(options.seed);
    const spki = createPublicKey(this.#key).export({
      format: "der",
      type: "spki",
    });
    this.#publicKey = spki.subarray(-32).toString("hex");
    this.id = sha256(spki.subarray(-32));
    this.#socket = new WebSocket(options.url, {
      perMessageDeflate: false,
      headers: options.headers,
      localAddress: options.from,
      rejectUnauthorized: options.insecure !== true,
    });
    this.#socket.on("message", (data, binary) => {
      if (binary) this.chunks.push(data as Buffer);
      else {
        const message = JSON.parse((data as Buffer).toString()) as Message;
        this.messages.push(message);
        if (message.type === "ping") this.send({ type: "pong", id: message["id"] });
      }
      this.#wake();
    });
    this.#socket.on("error", () => {});
    this.#socket.on("close", (code, reason) => {
      this.closed = { code, reason: reason.toString() };
      this.#wake();
    });
  }

  #wake(): void {
    for (const watcher of this.#watchers.splice(0)) watcher();
  }

  /**
   * Resolves when `look` finds something; fails when the connection closes before, or after ten
   * seconds (`patience`).
   */
  async until<T>(what: string, look: () => T | undefined): Promise<T> {
    const { patience = 10_000 } = this.#options;
    const late = Date.now() + patience;
    for (;;) {
      const found = look();
      if (found !== undefined) return found;
      if (this.closed)
        throw new Error(
          `waited for ${what}, but the line closed with ${this.closed.code} ${this.closed.reason}`,
        );
      if (Date.now() > late)
        throw new Error(`waited for ${what}, got ${JSON.stringify(this.messages.slice(-5))}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, patience);
        this.#watchers.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  /** The next message of one of these types that was not taken before. */
  next(...types: string[]): Promise<Message> {
    return this.until(types.join(" or "), () => {
      const found = this.messages.find((m) => types.includes(m.type) && !this.#taken.has(m));
      if (found) this.#taken.add(found);
      return found;
    });
  }

  async untilClosed(): Promise<{ code: number; reason: string }> {
    while (!this.closed) await new Promise<void>((resolve) => this.#watchers.push(resolve));
    return this.closed;
  }

  async opened(): Promise<void> {
    if (this.#socket.readyState === WebSocket.OPEN) return;
    await new Promise<void>((resolve, reject) => {
      this.#socket.once("open", resolve);
      this.#socket.once("error", reject);
    });
  }

  send(message: object): void {
    this.#socket.send(JSON.stringify(message));
  }

  /** Any bytes as a text or a binary frame. */
  sendFrame(data: string | Uint8Array): void {
    this.#socket.send(data);
  }

  /** Reads nothing any more. */
  pause(): void {
    this.#socket.pause();
  }

  /** Ends the line at once, as a device that loses its network does. */
  cut(): void {
    this.#socket.terminate();
  }

  close(): void {
    this.#socket.close();
  }

  sayHello(): void {
    const { samples, algorithms, layers, models, run, pending, counted } = this.#options;
    this.send({
      type: "hello",
      protocol: [1, 1],
      run,
      key: this.#publicKey,
      nonce: this.#nonce,
      capabilities: {
        algorithms: algorithms ?? ["fedavg"],
        layers: layers ?? ["dense"],
        codecs: this.#options.codecs ?? ["float32"],
        models,
        build: "raw",
      },
      samples: samples === undefined ? 10 : samples,
      counted: counted ?? null,
      pending: pending ?? [],
      agent: "raw test client",
    });
  }

  /** The handshake of sections 3 and 4; the welcome. */
  async join(): Promise<Message> {
    await this.opened();
    this.sayHello();
    const challenge = await this.next("challenge");
    const host = this.#options.signedHost ?? new URL(this.#options.url).host;
    const text = ["fedflat/1 proof", challenge["run"], host, this.#nonce, challenge["nonce"]].join(
      "\n",
    );
    this.send({
      type: "proof",
      signature: sign(null, Buffer.from(text), this.#key).toString("hex"),
      token: this.#options.token,
    });
    this.welcome = await this.next("welcome");
    return this.welcome;
  }

  /** Fetches a blob by `want`; into `blob`, which all who fetch the same one may share. */
  async fetch(
    { sha256: name, bytes }: Message["model"],
    blob = new Uint8Array(bytes),
  ): Promise<Uint8Array> {
    const transfer = this.#transfers;
    this.#transfers += 2;
    const hash = createHash("sha256");
    let held = 0;
    let acknowledged = 0;
    const window = this.welcome!["limits"].windowBytes;
    this.send({ type: "want", transfer, sha256: name, offset: 0, window });
    let seen = this.chunks.length;
    while (held < bytes) {
      const chunk = await this.until("a chunk", () => {
        const abort = this.messages.find((m) => m.type === "abort" && m["transfer"] === transfer);
        if (abort) throw new Error(`no model: ${abort["code"]}`);
        return this.chunks[seen] as Uint8Array | undefined;
      });
      seen++;
      const view = new DataView(chunk.buffer, chunk.byteOffset, 16);
      if (view.getUint32(0, true) !== transfer) continue;
      if (Number(view.getBigUint64(8, true)) !== held) throw new Error("a chunk out of order");
      const piece = chunk.subarray(16);
      hash.update(piece);
      blob.set(piece, held);
      held += piece.length;
      if (held === bytes || held - acknowledged >= window / 2) {
        this.send({ type: "ack", transfer, offset: held });
        acknowledged = held;
      }
    }
    if (hash.digest("hex") !== name) throw new Error("a model with another hash");
    return blob;
  }

  sendChunk(transfer: number, offset: number, bytes: Uint8Array): void {
    const frame = Buffer.allocUnsafe(16 + bytes.length);
    frame.writeUInt32LE(transfer, 0);
    frame.writeUInt32LE(0, 4);
    frame.writeBigUInt64LE(BigInt(offset), 8);
    frame.set(bytes, 16);
    this.#socket.send(frame);
  }

  offer(assignment: string, update: Uint8Array, change: object = {}): void {
    this.send({
      type: "offer",
      assignment,
      sha256: hashOfUpdate(update),
      bytes: update.length,
      samples: this.#options.samples ?? 10,
      metrics: {
        lossBefore: 2,
        lossAfter: 1,
        activationNorms: this.#options.activationNorms ?? [],
        seconds: 0.1,
      },
      ...change,
    });
  }

  /** Sends what a grant asks for, within its window. */
  async upload(grant: Message, update: Uint8Array, chunk = 65536) {
    const { transfer, window } = grant;
    let sent: number = grant["offset"];
    let acknowledged = sent;
    while (sent < update.length) {
      const length = Math.min(chunk, update.length - sent, acknowledged + window - sent);
      if (length > 0) {
        this.sendChunk(transfer, sent, update.subarray(sent, sent + length));
        sent += length;
      } else {
        const before = acknowledged;
        acknowledged = await this.until("an ack", () =>
          this.messages
            .filter((m) => m.type === "ack" && m["transfer"] === transfer)
            .map((m) => m["offset"] as number)
            .findLast((offset) => offset > before),
        );
      }
    }
  }

  /** Offers, uploads when granted, and gives the answer. */
  async deliver(assignment: string, update: Uint8Array, change: object = {}) {
    this.offer(assignment, update, change);
    for (;;) {
      const answer = await this.until("an answer", () => {
        const found = this.messages.find(
          (m) =>
            ["grant", "received", "committed", "refused"].includes(m.type) &&
            m["assignment"] === assignment &&
            !this.#taken.has(m),
        );
        if (found) this.#taken.add(found);
        return found;
      });
      if (answer.type !== "grant") return answer;
      await this.upload(answer, update);
    }
  }

  /** Takes part until the run is finished; `trained` makes the update of an assignment. */
  async work(trained: (assignment: Message, model: Uint8Array) => Uint8Array): Promise<Message> {
    this.send({ type: "ready" });
    for (;;) {
      const message = await this.next("assign", "finished");
      if (message.type === "finished") return message;
      this.send({ type: "accept", assignment: message["assignment"] });
      if (message["task"] === "evaluate") {
        this.send({
          type: "report",
          assignment: message["assignment"],
          evaluation: { count: 10, correct: 5, loss: 7.5 },
        });
        continue;
      }
      const model = await this.fetch(message["model"]);
      await this.deliver(message["assignment"], trained(message, model));
    }
  }
}

interface Entry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

/** Names, shapes and numbers of a safetensors file. */
export function readBlob(blob: Uint8Array) {
  const view = new DataView(blob.buffer, blob.byteOffset, 8);
  const length = Number(view.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(blob.subarray(8, 8 + length))) as Record<
    string,
    Entry
  >;
  return Object.entries(header)
    .filter(([name]) => name !== "__metadata__")
    .map(
      ([
        name,
        {
          shape,
          data_offsets: [from, to],
        },
      ]) => ({
        name,
        shape,
        data: new Float32Array(blob.slice(8 + length + from, 8 + length + to).buffer),
      }),
    );
}

/** The update blob that belongs to a model: `<vector>/<parameter>` with these numbers. */
export function updateFor(
  model: Uint8Array,
  value: (parameter: string, index: number) => number,
  vectors: readonly string[] = ["delta"],
): Uint8Array {
  let offset = 0;
  const header: Record<string, Entry> = {};
  const parts: Uint8Array[] = [];
  for (const vector of vectors)
    for (const { name, shape, data } of readBlob(model)) {
      if (name.includes("/")) continue;
      header[`${vector}/${name}`] = {
        dtype: "F32",
        shape,
        data_offsets: [offset, offset + data.byteLength],
      };
      offset += data.byteLength;
      parts.push(new Uint8Array(data.map((_, i) => value(name, i)).buffer as ArrayBuffer));
    }
  let text = JSON.stringify(header);
  text += " ".repeat((8 - (text.length % 8)) % 8);
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(text.length), true);
  return Buffer.concat([length, Buffer.from(text), ...parts]);
}
