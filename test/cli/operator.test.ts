import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { statusUrl } from "../../cli/status.js";
import { federation } from "../aggregator/run/federation.js";
import { RawClient } from "../aggregator/run/raw-client.js";
import { certificate } from "../connection/certificate.js";
import { run, start } from "./command.js";

async function inFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "fedflat-operator-"));
  try {
    await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

test("keys: a wrong and an empty folder are said; unused tokens are listed and revoked", () =>
  inFolder(async (folder) => {
    const keys = join(folder, "keys");
    const command = (action: string, ...more: string[]) =>
      run("keys", action, "--keys", keys, ...more);
    const missing = await command("list");
    assert.equal(missing.code, 1);
    assert.match(
      missing.stderr,
      /^fedflat: "--keys" expected a folder .*, got ".*", which does not exist\n$/,
    );
    assert.ok(!existsSync(keys));
    assert.match((await run("keys", "list", "--keys", folder)).stderr, /which is none\n$/);

    const issued = await run("enroll", "--keys", keys, "--label", "ward 3", "--json");
    const { token, id } = JSON.parse(issued.stdout) as { token: string; id: string };
    const list = await command("list");
    assert.match(list.stdout, new RegExp(`^${id} unused token, good until \\d{4}-.*Z ward 3\n$`));
    assert.ok(!list.stdout.includes(token));
    assert.match((await command("revoke", "--token", id)).stdout, /^Revoked the token/);
    assert.equal((await command("revoke", "--token", id)).code, 2);
    assert.match((await command("list")).stdout, /^No key and no token in .* yet: fedflat enroll/);
    assert.match((await command("revoke")).stderr, /expected --client or --token beside it/);
  }));

test("status: a scheme is not asked for", () => {
  const asked = (address: string) => statusUrl(address).href;
  assert.equal(asked("127.0.0.1:7400"), "http://127.0.0.1:7400/status");
  assert.equal(asked("localhost"), "http://localhost/status");
  assert.equal(asked("[::1]:7400"), "http://[::1]:7400/status");
  assert.equal(asked("fl.example.org"), "https://fl.example.org/status");
  assert.equal(asked("fl.example.org:7400"), "https://fl.example.org:7400/status");
  assert.equal(asked("ws://10.0.0.1:7400"), "http://10.0.0.1:7400/status");
  assert.equal(asked("wss://fl.example.org"), "https://fl.example.org/status");
});

test("status over TLS with a token: by the authority and the token's file, and what is missing is said", (t) =>
  inFolder(async (folder) => {
    const pair = certificate();
    if (pair === undefined) return t.skip("there is no openssl here");
    const admission = { kind: "token", token: "token-of-the-lab" } as const;
    const f = await federation({}, { admission }, { tls: pair, hosts: ["fl.example.org"] });
    try {
      const [ca, token, other] = ["ca.pem", "token", "other"].map((name) => join(folder, name));
      await writeFile(ca, pair.cert);
      await writeFile(token, "token-of-the-lab\n");
      await writeFile(other, "token-of-another\n");
      const address = f.url.replace("wss", "https");
      const ask = (...more: string[]) => run("status", address, ...more);
      const right = await ask("--tls-ca", ca, "--token-file", token);
      assert.match(right.stdout, /^0 of 2 rounds are committed\. Round 1 waits/, right.stderr);
      assert.match(
        (await ask("--token-file", token)).stderr,
        /expected an aggregator at .*certificate/,
      );
      assert.match(
        (await ask("--tls-ca", ca)).stderr,
        /one that asks for a token: give --token-file/,
      );
      const wrong = await ask("--tls-ca", ca, "--token-file", other);
      assert.match(wrong.stderr, /does not know the token/);
      assert.equal(wrong.code, 2);
    } finally {
      await f.end();
    }
  }));

test("serve on all addresses: its join line works; whom it refuses stands on the terminal; it begins or resumes by one flag", () =>
  inFolder(async (folder) => {
    const [model, token, place] = ["model.json", "token", "run"].map((name) => join(folder, name));
    await writeFile(model, '{"input":[4],"layers":[{"type":"dense","units":3}]}');
    await writeFile(token, "token-of-the-lab");
    const serve = () =>
      start(
        ...["serve", "--model", model, "--host", "0.0.0.0", "--port", "0"],
        ...["--token-file", token, "--run", place, "--resume-or-start"],
      );
    for (const _ of ["begins", "resumes"]) {
      const server = serve();
      try {
        const [, url] = await server.until(
          /A client joins with: fedflat join --url (\S+) --data PATH --token-file FILE\n/,
        );
        assert.doesNotMatch(url, /0\.0\.0\.0/);
        const client = new RawClient({ url, seed: "a", token: "token-of-the-lab" });
        await client.join();
        client.cut();
        const stranger = new RawClient({ url, seed: "b", token: "guess\u001b[2J" });
        await assert.rejects(stranger.join(), /4001/);
        await server.until(
          /^Refused [0-9.]+: "token" expected the token of this aggregator, got another\.$/m,
        );
        server.process.kill("SIGTERM");
        const { code, stderr } = await server.ended;
        assert.equal(code, 0, stderr);
      } finally {
        server.process.kill("SIGKILL");
      }
    }
    const alone = await run("serve", "--model", model, "--resume-or-start");
    assert.match(alone.stderr, /"--resume-or-start" expected --run beside it/);
  }));
