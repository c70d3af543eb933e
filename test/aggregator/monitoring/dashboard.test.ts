import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { PageUpdate } from "../../../aggregator/monitoring/dashboard/messages.js";
import { listen } from "../../../aggregator/server/server.js";
import { initialModel } from "../../../runtime/models/initial.js";
import { parseCard } from "../../../runtime/models/model.js";
import { federation, type Federation } from "../run/federation.js";
import { updateFor } from "../run/raw-client.js";

const ADMIN = "an-admin-token-of-a-test";
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
const httpOf = ({ url }: Federation) => url.replace(/^ws/, "http");

/** The status of an answer; unlike fetch it sends any header. */
const statusOf = (
  f: Federation,
  path: string,
  headers: Record<string, string> = {},
  method = "GET",
) =>
  new Promise<number>((resolve, reject) => {
    const { hostname, port } = new URL(httpOf(f));
    request({ hostname, port, path, headers, method }, (response) => {
      resolve(response.statusCode!);
      response.destroy();
    })
      .on("error", reject)
      .end();
  });

/**
 * Follows the stream of a page until `enough`, and gives back everything that it was told, later
 * parts over earlier ones.
 */
async function follow(
  f: Federation,
  query: string,
  enough: (told: Told) => boolean,
  headers: Record<string, string> = {},
): Promise<Told> {
  const stop = new AbortController();
  const response = await fetch(`${httpOf(f)}/page/events?${query}`, {
    headers,
    signal: stop.signal,
  });
  assert.equal(response.status, 200);
  const told: Told = { updates: [], rounds: new Map(), log: new Map() };
  let rest = "";
  const decoder = new TextDecoder();
  for await (const chunk of response.body!) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n\n");
    rest = parts.pop()!;
    for (const part of parts) {
      if (!part.startsWith("data: ")) continue;
      const update = JSON.parse(part.slice(6)) as PageUpdate;
      told.updates.push(update);
      for (const point of update.rounds ?? []) told.rounds.set(point.round, point);
      for (const { number, text } of update.log ?? []) told.log.set(number, text);
      told.run ??= update.run;
      told.now = update.now ?? told.now;
      told.clients = update.clients ?? told.clients;
      told.inputs = update.inputs ?? told.inputs;
      told.threshold = update.threshold ?? told.threshold;
      told.revision = update.revision ?? told.revision;
    }
    if (enough(told)) break;
  }
  stop.abort();
  return told;
}

interface Told {
  readonly updates: PageUpdate[];
  readonly rounds: Map<number, NonNullable<PageUpdate["rounds"]>[number]>;
  readonly log: Map<number, string>;
  run?: PageUpdate["run"];
  now?: PageUpdate["now"];
  clients?: PageUpdate["clients"];
  inputs?: PageUpdate["inputs"];
  threshold?: PageUpdate["threshold"];
  revision?: number;
}

test("the page's files are served under a strict policy, and nothing else of its folder", async () => {
  const f = await federation();
  try {
    for (const [path, type] of [
      ["/", "text/html"],
      ["/page/page.js", "text/javascript"],
      ["/page/page.css", "text/css"],
    ]) {
      const response = await fetch(httpOf(f) + path);
      assert.equal(response.status, 200, path);
      assert.match(response.headers.get("content-type")!, new RegExp(type));
      const policy = response.headers.get("content-security-policy")!;
      assert.match(policy, /^default-src 'none'; script-src 'self'; style-src/);
      assert.doesNotMatch(policy, /unsafe|\*|http/);
      const text = await response.text();
      assert.doesNotMatch(text, /<script>|<style|style="|\son\w+="/, path);
    }
    const licence = await (await fetch(`${httpOf(f)}/page/page.js`)).text();
    assert.match(licence, /Permission is hereby granted, free of charge/);
    for (const path of ["/page/", "/page/../server.js", "/page/index.html"])
      assert.equal(await statusOf(f, path), 404, path);
    assert.equal(await statusOf(f, "/", {}, "POST"), 405);
  } finally {
    await f.end();
  }
});

test("who may look and who may act: by token, from this machine, never from another site", async () => {
  const f = await federation({}, {}, { adminToken: ADMIN });
  const events = (headers: Record<string, string> = {}) => statusOf(f, "/page/events", headers);
  const act = (action: string, headers: Record<string, string> = {}) =>
    statusOf(f, `/page/${action}`, headers, "POST");
  try {
    assert.equal(await events(), 200);
    assert.equal(await events(bearer(ADMIN)), 200);
    assert.equal(await events(bearer("another-token-of-a-test")), 401);
    assert.equal(await events({ host: "evil.example.org" }), 421);
    assert.equal(await events({ origin: "https://evil.example.org" }), 403);
    assert.equal(await events({ origin: "http://localhost:1" }), 403);
    assert.equal(await events({ "sec-fetch-site": "cross-site" }), 403);
    assert.equal(await events({ "sec-fetch-site": "same-site" }), 403);

    assert.equal(await act("hold"), 403);
    assert.equal(await act("hold", bearer("another-token-of-a-test")), 401);
    const evil = { ...bearer(ADMIN), origin: "https://evil.example.org" };
    assert.equal(await act("hold", evil), 403);
    const rebound = { ...bearer(ADMIN), host: "evil.example.org" };
    assert.equal(await act("hold", rebound), 421);
    assert.equal(await statusOf(f, "/page/hold", bearer(ADMIN)), 405);
    assert.equal(await act("constructor", bearer(ADMIN)), 404);
    assert.equal(f.aggregator.situation().held, false);

    const here = { ...bearer(ADMIN), origin: httpOf(f) };
    assert.equal(await act("hold", here), 204);
    assert.equal(f.aggregator.situation().held, true);
    assert.equal(await act("release", bearer(ADMIN)), 204);
    assert.equal(f.aggregator.situation().held, false);
    assert.equal(await act("stop", bearer(ADMIN)), 204);
    const { reason, message } = await f.aggregator.done;
    assert.deepEqual([reason, message], ["stopped", "stopped by an admin"]);
    assert.ok(!JSON.stringify(f.log).includes(ADMIN), "no token in the log");
  } finally {
    await f.end();
  }
});

test("without a token of an admin nobody acts; beyond loopback nobody looks without one", async () => {
  const open = await federation();
  assert.equal(await statusOf(open, "/page/stop", {}, "POST"), 403);
  assert.equal(await statusOf(open, "/page/stop", bearer("guess"), "POST"), 403);
  await open.end();

  const f = await federation(
    {},
    { admission: { kind: "token", token: "token-of-the-lab" } },
    { host: "0.0.0.0", adminToken: ADMIN },
  );
  try {
    const lab = bearer("token-of-the-lab");
    const admin = bearer(ADMIN);
    assert.equal(await statusOf(f, "/", {}), 200);
    for (const path of ["/page/events", "/status", "/metrics"]) {
      assert.equal(await statusOf(f, path, {}), 401, path);
      assert.equal(await statusOf(f, path, lab), 200, path);
      assert.equal(await statusOf(f, path, admin), 200, path);
    }
    assert.equal(await statusOf(f, "/page/hold", lab, "POST"), 403);
    assert.equal(await statusOf(f, "/page/hold", admin, "POST"), 204);
  } finally {
    await f.end();
  }
  const { aggregator } = f;
  for (const adminToken of ["short", "with a space in the middle"])
    await assert.rejects(listen(aggregator, { port: 0, adminToken }), {
      code: "admin-token",
    });
});

test("a page is told everything once, then what changes; after a break what is missing", async () => {
  const f = await federation({ rounds: 3, minimum: 2 }, { hold: true });
  try {
    const [a, b] = [await f.client("a"), await f.client("b")];
    for (const client of [a, b]) {
      client.send({ type: "ready" });
      await client.next("wait");
    }
    const first = await follow(f, "", ({ clients }) => clients?.ready === 2);
    assert.match(first.now!.sentence, /^Round 1 is paused until .*: 2 clients/);
    assert.deepEqual(
      [...first.log.values()],
      ["2 clients joined."],
      "events of one kind are one entry",
    );
    const table = first.updates[0].table!;
    assert.deepEqual(table.order, [a.id, b.id]);
    assert.deepEqual(
      table.rows.map(({ standing, samples }) => [standing, samples]),
      [
        ["ready", 10],
        ["ready", 10],
      ],
    );

    const works = [a, b].map((client) => client.work((_, model) => updateFor(model, () => 1)));
    const second = follow(f, "", ({ rounds }) => rounds.has(3));
    f.aggregator.release();
    const { updates, rounds, run, revision } = await second;
    assert.deepEqual([...rounds.keys()], [1, 2, 3]);
    for (const point of rounds.values()) {
      assert.equal(point.participants, 2);
      assert.ok(point.receivedBytes! > point.updateBytes!);
    }
    const sent = updates.flatMap(({ rounds }) => rounds ?? []);
    assert.equal(sent.length, 3, "each round is sent once");

    const rest = `feed=${run!.feed}&since=${revision}`;
    const third = await follow(f, rest, () => true);
    assert.equal(third.rounds.size, 0);
    assert.equal(third.clients!.all, 2);
    const again = await follow(f, `feed=other&since=${revision}`, () => true);
    assert.equal(again.rounds.size, 3);
    await Promise.all(works);
  } finally {
    await f.end();
  }
});

test("the page names a client that cannot train, and why, in its log and its row", async () => {
  const f = await federation({ rounds: 1, gather: 2, minimum: 2, quorum: 1 });
  try {
    const [a, odd] = [await f.client("a"), await f.client("odd")];
    for (const client of [a, odd]) client.send({ type: "ready" });
    const { assignment } = await odd.next("assign");
    const why = '"label" expected 0 to 2, got 7';
    odd.send({ type: "decline", assignment, code: "data", message: why });
    const name = odd.id.slice(0, 8);
    const { log, updates } = await follow(
      f,
      "filter=unfit",
      ({ log, clients }) =>
        [...log.values()].some((text) => text.includes("abandoned")) && clients?.unfit === 1,
    );
    const texts = [...log.values()];
    assert.ok(texts.includes(`Round 1 goes without client ${name}: data: ${why}.`), texts.join());
    assert.ok(texts.some((text) => text.endsWith(`come: client ${name} (data: ${why}).`)));
    const rows = updates.flatMap(({ table }) => table?.rows ?? []);
    assert.deepEqual(rows.at(-1) && [rows.at(-1)!.standing, rows.at(-1)!.note], [
      "unfit",
      `data: ${why}`,
    ]);
  } finally {
    await f.end();
  }
});

test("the rows of a filter, page by page", async () => {
  const f = await federation({ minimum: 99 });
  try {
    const clients = await Promise.all(
      Array.from({ length: 60 }, (_, i) => f.client(`client ${i}`)),
    );
    for (const client of clients.slice(0, 55)) client.send({ type: "ready" });
    const told = (query: string) => follow(f, query, ({ clients }) => clients?.ready === 55);
    const [ready, rest] = await Promise.all([told("filter=ready"), told("filter=ready&from=50")]);
    const order = ({ updates }: Told) =>
      updates.findLast(({ table }) => table?.order)?.table?.order?.length;
    assert.deepEqual([order(ready), order(rest)], [50, 5]);
    const odd = await told("filter=__proto__&from=-1");
    assert.equal(odd.updates[0].table!.total, 60);
  } finally {
    await f.end();
  }
});

test("a run that went on after a restart shows its rounds from the beginning", async () => {
  const folder = await mkdtemp(join(tmpdir(), "fedflat-page-"));
  const settings = { rounds: 2, evaluateFraction: 1 };
  try {
    const before = await federation(settings, { folder });
    const client = await before.client("a");
    await client.work((_, model) => updateFor(model, () => 1));
    await before.aggregator.done;
    await before.end();
    const f = await federation({ ...settings, rounds: 3 }, { folder, resume: true });
    const told = await follow(f, "", ({ rounds }) => rounds.size === 2);
    assert.deepEqual([...told.rounds.keys()], [1, 2]);
    assert.equal(told.rounds.get(2)!.participants, 1);
    assert.ok(told.rounds.get(2)!.seconds! > 0);
    await f.end();
  } finally {
    await rm(folder, { recursive: true });
  }
});

/** A model of two inputs and as many outputs. */
const linear = (loss: object) =>
  initialModel(
    parseCard({
      description: {
        ...{ input: [2], layers: [{ type: "dense", units: 2 }] },
        loss: { type: "meanSquaredError", ...loss },
      },
    }),
    "1",
  );

test("the statistics of inputs and of targets are shown, by which both are normalised", async () => {
  const f = await federation({ normalise: "channels", minimum: 1 }, { model: linear({}) });
  try {
    const client = await f.client("a");
    client.send({ type: "ready" });
    const assign = await client.next("assign");
    const statistics = {
      ...{ count: 10, mean: [1, 5], deviation: [2, 0] },
      ...{ targetMean: [7, 8], targetDeviation: [3, 4] },
    };
    client.send({ type: "accept", assignment: assign["assignment"] });
    client.send({ type: "report", assignment: assign["assignment"], statistics });
    const { inputs } = await follow(f, "", (told) => (told.inputs ?? []).length > 0);
    assert.deepEqual(inputs, [
      { name: "channel 0", mean: 1, deviation: 2, constant: false },
      { name: "channel 1", mean: 5, deviation: 0, constant: true },
      { name: "target 0", mean: 7, deviation: 3, constant: false },
      { name: "target 1", mean: 8, deviation: 4, constant: false },
    ]);
  } finally {
    await f.end();
  }
});

test("a threshold is shown, and stands in the log, before the page's last word", async () => {
  const f = await federation(
    { ...{ normalise: "none", rounds: 1, minimum: 1 }, threshold: 0.9, evaluateFraction: 0 },
    { model: linear({ target: "input" }) },
  );
  try {
    const told = follow(f, "", ({ threshold }) => threshold !== undefined && threshold !== "");
    const client = await f.client("a");
    client.send({ type: "ready" });
    const train = await client.next("assign");
    const bytes = await client.fetch(train["model"]);
    await client.deliver(
      train["assignment"],
      updateFor(bytes, () => 1),
    );
    const { assignment } = await client.next("assign");
    client.send({ type: "accept", assignment });
    const bins = new Array<number>(256).fill(0);
    bins[160] = 10;
    const evaluation = { count: 10, correct: 0, loss: 1, sums: [0, 0, 0, 0, 0, ...bins] };
    client.send({ type: "report", assignment, evaluation });
    const { threshold, log } = await told;
    assert.match(threshold!, /^An error above 1\.09\d is an anomaly: 90 % /);
    assert.ok([...log.values()].includes(threshold!));
  } finally {
    await f.end();
  }
});
