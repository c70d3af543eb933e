import { RawClient, updateFor } from "../aggregator/raw-client.js";

/**
 * A second load tester: plain `ws` clients written from docs/protocol.md alone, which share no code with the package. What
 * `fedflat loadtest` finds about an aggregator, this must find too. Resolves when all have left, to the milliseconds that
 * each update took from its assignment to its commit.
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
      }),
  );
  await Promise.all(all.map((client) => client.join()));
  const trips: number[] = [];
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
        const model = await client.fetch(assign["model"]);
        client.chunks.length = 0;
        update ??= updateFor(model, (_, i) => ((i % 7) - 3) / 4096);
        await client.deliver(assignment, update);
        await client.until("its commit", () =>
          client.messages.find(
            (m) => m.type === "committed" && m["assignment"] === assignment,
          ),
        );
        trips.push(performance.now() - begun);
      }
      client.send({ type: "bye" });
      await client.untilClosed();
    }),
  );
  return trips;
}
