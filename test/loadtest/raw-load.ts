import { fileURLToPath } from "node:url";
import { RawClient, updateFor } from "../aggregator/run/raw-client.js";

/** The slowest machine that is asked to bear a load, in milliseconds for one step of one client. */
const PATIENCE = 300_000;

/**
 * A second load tester: plain `ws` clients written from docs/protocol.md alone, which share no code
 * with the package. What `fedflat loadtest` finds about an aggregator, this must find too. Resolves
 * when all have left, to the milliseconds that each update took from its `assign` to its
 * `committed`.
 */
export async function rawLoad(url: string, clients: number): Promise<number[]> {
  const all = Array.from(
    { length: clients },
    (_, i) =>
      new RawClient({
        url,
        seed: `raw load ${i}`,
        algorithms: ["fedavg"],
        layers: ["dense"],
        patience: PATIENCE,
      }),
  );
  await Promise.all(all.map((client) => client.join()));
  const trips: number[] = [];
  let model: Uint8Array<ArrayBuffer> | undefined;
  let update: Uint8Array | undefined;
  await Promise.all(
    all.map(async (client) => {
      client.send({ type: "ready" });
      for (;;) {
        const assign = await client.next("assign", "finished");
        if (assign.type === "finished") break;
        const { assignment } = assign;
        const begun = performance.now();
        client.send({ type: "accept", assignment });
        model ??= new Uint8Array(assign["model"].bytes);
        await client.fetch(assign["model"], model);
        client.chunks.length = 0;
        update ??= updateFor(model, (_, i) => ((i % 7) - 3) / 4096);
        await client.deliver(assignment, update);
        await client.until("its commit", () =>
          client.messages.find((m) => m.type === "committed" && m["assignment"] === assignment),
        );
        trips.push(performance.now() - begun);
      }
      client.send({ type: "bye" });
      await client.untilClosed();
    }),
  );
  return trips;
}

// node dist/test/loadtest/raw-load.js URL CLIENTS
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const trips = await rawLoad(process.argv[2], Number(process.argv[3]));
  trips.sort((a, b) => a - b);
  const median = trips[Math.ceil(trips.length / 2) - 1];
  console.log(JSON.stringify({ updates: trips.length, median }));
}
