import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { RawClient, updateFor } from "../aggregator/run/raw-client.js";
import { FASHION, start } from "./command.js";
import { until } from "../until.js";

test("a service: clients enrol with tokens that are good once, status tells what it waits for, SIGTERM drains it", async () => {
  const folder = await mkdtemp(join(tmpdir(), "fedflat-service-"));
  const [keys, run, token] = ["keys", "run", "token"].map((name) => join(folder, name));
  const issued = await start("enroll", "--keys", keys, "--label", "ward 3").ended;
  assert.equal(issued.code, 0);
  await writeFile(token, issued.stdout);
  const server = start(
    ...["serve", "--model", "fashion-small", "--rounds", "1", "--gather", "2"],
    ...["--keys", keys, "--run", run, "--port", "0", "--health-port", "0"],
    "--json",
  );
  const joining = (state: string) =>
    start(
      ...["join", "--url", url, "--data", FASHION, "--part", "1/200"],
      ...["--state", join(folder, state), "--token-file", token],
    );
  let url = "";
  try {
    const [, listening] = await server.until(/^(\{"event":"listening".*\})$/m);
    const facts = JSON.parse(listening) as { url: string; healthPort: number };
    url = facts.url;
    const health = `http://127.0.0.1:${facts.healthPort}`;
    const client = joining("first");
    await client.until(/Waiting: Round 1 waits for clients/);

    const stranger = await joining("second").ended;
    assert.equal(stranger.code, 1);
    assert.match(stranger.stderr, /expected one that was not used yet/);

    const status = await start("status", health).ended;
    assert.match(status.stdout, /0 of 1 rounds are committed. Round 1 waits/);
    const list = await start("keys", "list", "--keys", keys).ended;
    const [, id] = /^([0-9a-f]{64}) enrolled ward 3\n$/.exec(list.stdout)!;

    server.process.kill("SIGTERM");
    const ended = await server.ended;
    assert.equal(ended.code, 0, ended.stderr);
    await client.until(/The aggregator restarts/);
    client.process.kill("SIGTERM");
    assert.equal((await client.ended).code, 143);

    const revoke = ["keys", "revoke", "--keys", keys, "--client"];
    assert.equal((await start(...revoke, id).ended).code, 0);
    assert.equal((await start(...revoke, id).ended).code, 2);
  } finally {
    server.process.kill("SIGKILL");
    await rm(folder, { recursive: true, force: true });
  }
});

test("SIGTERM in the middle of a round: not ready, the round is committed, clients are told when to come back, exit 0", async () => {
  const folder = await mkdtemp(join(tmpdir(), "fedflat-drain-"));
  const model = join(folder, "model.json");
  await writeFile(model, '{"input":[4],"layers":[{"type":"dense","units":3}]}');
  const serve = [
    ...["serve", "--model", model, "--rounds", "3", "--gather", "2"],
    ...["--normalise", "none"],
    ...["--over-selection", "1", "--evaluate-fraction", "0", "--json"],
    ...["--run", join(folder, "run"), "--port", "0", "--health-port", "0"],
  ];
  const server = start(...serve);
  const clients: RawClient[] = [];
  try {
    const [, line] = await server.until(/^(\{"event":"listening".*\})$/m);
    const { url, healthPort } = JSON.parse(line) as {
      url: string;
      healthPort: number;
    };
    const ready = async () => (await fetch(`http://127.0.0.1:${healthPort}/readyz`)).status;
    clients.push(...["a", "b"].map((seed) => new RawClient({ url, seed, samples: 10 })));
    for (const client of clients) await client.join();
    for (const client of clients) client.send({ type: "ready" });
    const work = await Promise.all(clients.map((client) => client.next("assign")));
    assert.equal(await ready(), 200);

    const second = await start(...serve, "--resume").ended;
    assert.equal(second.code, 1);
    assert.match(second.stderr, /expected no other server, got one with/);
    assert.doesNotMatch(second.stderr, /\n +at /);

    server.process.kill("SIGTERM");
    await until(async () => (await ready()) === 503);
    await Promise.all(
      clients.map(async (client, i) => {
        const { assignment, model } = work[i];
        const bytes = await client.fetch(model);
        await client.deliver(
          assignment,
          updateFor(bytes, () => 0.5),
        );
        await client.next("committed");
        assert.equal((await client.untilClosed()).code, 1012);
        const { retryAfter } = client.messages.findLast(({ type }) => type === "wait")!;
        assert.ok(retryAfter >= 1000 && retryAfter <= 3000, `${retryAfter}`);
      }),
    );
    const { code, stdout, stderr } = await server.ended;
    assert.equal(code, 0, stderr);
    assert.match(stdout, /"event":"stopped".*"rounds":1/);
  } finally {
    for (const client of clients) client.cut();
    server.process.kill("SIGKILL");
    await rm(folder, { recursive: true, force: true });
  }
});
