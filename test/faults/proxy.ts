import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { random } from "../../runtime/tensors/random.js";

/** What a bad network does to every connection through it. */
export interface Weather {
  /** Milliseconds on the way, and as much again at most by chance, for each piece. */
  readonly latency?: number;
  readonly jitter?: number;
  /** Bytes a second, each way of each connection. */
  readonly bandwidth?: number;
  /** Longest piece that is sent on at once. */
  readonly slice?: number;
  /** Chance that a piece resets its connection instead of being sent on. */
  readonly resets?: number;
  readonly seed?: string;
}

export interface FaultProxy {
  readonly port: number;
  /** Connections made so far, and those reset by chance. */
  readonly connections: number;
  readonly resets: number;
  /** Milliseconds for which nothing moves, in any connection. */
  stopTheWorld(milliseconds: number): void;
  /**
   * From now on the connections that are open stay so, and nothing comes through: neither end is
   * told.
   */
  halfOpen(): void;
  /** Ends every connection with RST. */
  resetAll(): void;
  close(): Promise<void>;
}

/** A TCP proxy on loopback to a port there, with bad weather between. */
export async function faultProxy(target: number, weather: Weather = {}): Promise<FaultProxy> {
  const {
    latency = 0,
    jitter = 0,
    bandwidth = Infinity,
    slice = Infinity,
    resets = 0,
    seed = "weather",
  } = weather;
  const chance = random(seed);
  const pairs = new Set<{ ends: readonly Socket[]; silent: boolean }>();
  let connections = 0;
  let resetByChance = 0;
  let stillUntil = 0;

  const server = createServer((near) => {
    connections++;
    const far = connect(target, "127.0.0.1");
    const pair = { ends: [near, far], silent: false };
    pairs.add(pair);
    const end = () => {
      pairs.delete(pair);
      near.destroy();
      far.destroy();
    };
    const reset = () => {
      pairs.delete(pair);
      near.resetAndDestroy();
      far.resetAndDestroy();
    };
    for (const [from, to] of [
      [near, far],
      [far, near],
    ]) {
      from.on("error", reset);
      // Each way is a queue: a piece leaves after those before it, its delay and its share of the
      // bandwidth.
      let free = 0;
      from.on("data", (bytes: Buffer) => {
        for (let at = 0; at < bytes.length; at += slice) {
          const piece = bytes.subarray(at, at + slice);
          const now = performance.now();
          free = Math.max(
            free + (1000 * piece.length) / bandwidth,
            now + latency + chance.next() * jitter,
          );
          const doomed = chance.next() < resets;
          const deliver = () => {
            const still = stillUntil - performance.now();
            if (still > 0) return void setTimeout(deliver, still);
            if (pair.silent || to.destroyed) return;
            if (doomed) {
              resetByChance++;
              reset();
            } else to.write(piece);
          };
          setTimeout(deliver, free - now);
          if (slice === Infinity) break;
        }
      });
      from.on("close", () => {
        if (!pair.silent) setTimeout(end, Math.max(0, free - performance.now()) + 1);
      });
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    get connections() {
      return connections;
    },
    get resets() {
      return resetByChance;
    },
    stopTheWorld(milliseconds) {
      stillUntil = performance.now() + milliseconds;
    },
    halfOpen() {
      for (const pair of pairs) pair.silent = true;
    },
    resetAll() {
      for (const { ends } of pairs) for (const end of ends) end.resetAndDestroy();
      pairs.clear();
    },
    async close() {
      for (const { ends } of pairs) for (const end of ends) end.destroy();
      server.close();
      await once(server, "close");
    },
  };
}
