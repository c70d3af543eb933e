import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { FASHION, start } from "./command.js";

test("a service: clients enrol with tokens that are good once, status tells what it waits for, SIGTERM drains it", async () => {
  const folder = await mkdtemp(join(tmpdir(), "fedflat-service-"));
  const [keys, run, token] = ["keys", "run", "token"].map((name) =>
    join(folder, name),
  );
  const issued = await start("enroll", "--keys", keys, "--label", "ward 3")
    .ended;
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
