import assert from "node:assert/strict";
import { test } from "node:test";
import { federation, type Federation } from "./federation.js";
import { updateFor } from "./raw-client.js";

const QUICKLY = { absence: 50, remember: 100, heartbeat: 200 };

const forgotten = ({ aggregator }: Federation): Promise<string> =>
  new Promise((resolve) =>
    aggregator.on("client", ({ client, change }) => change === "forgotten" && resolve(client)),
  );

test("a client that has long been gone counts in the population no more", async () => {
  const f = await federation({ ...QUICKLY, rounds: 1, algorithm: "feddyn" });
  try {
    const algorithms = ["feddyn"];
    const stays = await f.client("stays", { algorithms });
    const leaves = await f.client("leaves", { algorithms });
    assert.equal(f.aggregator.status().clients.length, 2);
    const gone = forgotten(f);
    leaves.close();
    assert.equal(await gone, leaves.id);
    assert.deepEqual(
      f.aggregator.status().clients.map(({ id }) => id),
      [stays.id],
    );
    await stays.work((_, model) => updateFor(model, () => 1));
    const assign = stays.messages.find(({ type }) => type === "assign")!;
    assert.equal(assign["settings"].population, 1);
  } finally {
    await f.end();
  }
});

test("a client that has long been gone makes room for another, and is taken as new when it comes back", async () => {
  const f = await federation({ ...QUICKLY, maxClients: 1, rounds: 1, minimum: 2 });
  try {
    const first = await f.client("first");
    await assert.rejects(f.client("second"));
    const gone = forgotten(f);
    first.send({ type: "bye" });
    await gone;
    const second = await f.client("second");
    const again = forgotten(f);
    second.close();
    await again;
    assert.ok((await f.client("first")).welcome);
  } finally {
    await f.end();
  }
});

test("a client that is here is not forgotten, however quiet", async () => {
  const f = await federation({ ...QUICKLY, rounds: 1, minimum: 2 });
  try {
    await f.client("busy").then((client) => client.send({ type: "busy", reason: "on battery" }));
    const gone = forgotten(f);
    const other = await f.client("other");
    other.close();
    assert.equal(await gone, other.id);
    assert.equal(f.aggregator.status().clients.length, 1);
  } finally {
    await f.end();
  }
});
