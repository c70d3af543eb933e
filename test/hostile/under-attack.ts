import assert from "node:assert/strict";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { after } from "node:test";
import type { AggregatorOptions } from "../../aggregator/run/aggregator.js";
import type { ServerOptions } from "../../aggregator/server/server.js";
import type { GivenSettings } from "../../aggregator/settings.js";
import { federation, type Federation } from "../aggregator/run/federation.js";
import { updateFor, type Message, type RawClient } from "../aggregator/run/raw-client.js";
import { idleThread } from "./idle-thread.js";

const lagAllowed = process.env["FEDFLAT_LAG"];
const idle = lagAllowed === undefined ? undefined : idleThread();
after(() => idle?.end());

/** Bytes that the process may have grown by after an attack. */
const MEMORY = 256 * 1024 * 1024;

export interface Under extends Federation {
  /** Where the health port answers. */
  readonly health: string;
  /** Two clients that do what they should. */
  readonly good: readonly RawClient[];
}

export interface AttackOptions {
  readonly settings?: GivenSettings;
  readonly aggregator?: Partial<AggregatorOptions>;
  readonly server?: Partial<ServerOptions>;
  /** For the good clients. */
  readonly token?: (index: number) => Promise<string> | string;
}

/**
 * Runs an attack on a real aggregator while two good clients wait for its round, then lets them
 * train: the round completes, the health port answers all the time, and the memory stays in its
 * budget. With FEDFLAT_LAG set to milliseconds, the event loop's delay must stay below that at its
 * 99th percentile too; it is printed for `npm run hostile`, beside that of an idle thread.
 */
export async function underAttack(
  attack: (under: Under) => Promise<void>,
  { settings, aggregator, server, token }: AttackOptions = {},
): Promise<void> {
  const f = await federation(
    { rounds: 1, gather: 2, quorum: 0.5, minimum: 1, ...settings },
    aggregator,
    { healthPort: 0, ...server },
  );
  const health = `http://127.0.0.1:${f.healthPort}`;
  const answers = async () => {
    const { status } = await fetch(`${health}/livez`, {
      signal: AbortSignal.timeout(5000),
    });
    assert.equal(status, 200, "the health port answers");
  };
  const delay = monitorEventLoopDelay({ resolution: 5 });
  let failed: unknown;
  const watch = setInterval(() => {
    answers().catch((error: unknown) => (failed ??= error));
  }, 200);
  try {
    const good = [
      await f.client("good 1", { token: await token?.(0) }),
      await f.client("good 2", { token: await token?.(1) }),
    ];
    await answers();
    const before = process.memoryUsage().rss;
    delay.enable();
    await idle?.lag();
    await attack({ ...f, health, good });
    await answers();
    if (failed !== undefined) throw failed;
    for (const { welcome } of good)
      assert.ok(
        !JSON.stringify(f.log).includes(String(welcome!["bearer"])),
        "no secret in the log",
      );
    const grown = process.memoryUsage().rss - before;
    assert.ok(grown < MEMORY, `the memory grew by ${grown} bytes`);
    const honest = (_: Message, model: Uint8Array) => updateFor(model, () => 0.5);
    await Promise.all(good.map((client) => client.work(honest)));
    const ending = await f.aggregator.done;
    assert.deepEqual([ending.reason, ending.rounds], ["finished", settings?.rounds ?? 1]);
    delay.disable();
    const p99 = delay.percentile(99) / 1e6;
    if (idle !== undefined) {
      console.log(
        `event-loop lag p99 ${p99.toFixed(1)} ms (of a thread that does nothing: ${(await idle.lag()).toFixed(1)} ms)`,
      );
      assert.ok(p99 <= Number(lagAllowed), `the event loop lagged by ${p99} ms`);
    }
  } finally {
    clearInterval(watch);
    delay.disable();
    await f.end();
  }
}
