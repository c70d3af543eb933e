import assert from "node:assert/strict";
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { get } from "node:https";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { RawClient, updateFor } from "../aggregator/run/raw-client.js";
import { federation } from "../aggregator/run/federation.js";
import { repository } from "../cli/command.js";
import { certificate } from "../connection/certificate.js";
import { until } from "../until.js";

const TOKEN = "open-sesame";

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** A text in which each of these stands, replaced by another. */
function replaced(text: string, changes: Readonly<Record<string, string>>): string {
  for (const [from, to] of Object.entries(changes)) {
    assert.ok(text.includes(from), `the example has ${from}`);
    text = text.replaceAll(from, to);
  }
  return text;
}

interface Place {
  readonly folder: string;
  readonly port: number;
  readonly aggregator: number;
  readonly cert: string;
  readonly key: string;
}

/** The example's own configuration on other ports, in a folder that anybody may write. */
const PROXIES: Readonly<
  Record<string, { start(place: Place): Promise<ChildProcess>; missing: () => boolean }>
> = {
  nginx: {
    missing: () => spawnSync("nginx", ["-v"]).error !== undefined,
    async start({ folder, port, aggregator, cert, key }) {
      const example = await readFile(repository("examples/proxy/nginx.conf"), "utf8");
      await writeFile(
        join(folder, "site.conf"),
        replaced(example, {
          "listen 443 ssl": `listen 127.0.0.1:${port} ssl`,
          "127.0.0.1:7400": `127.0.0.1:${aggregator}`,
          "/etc/letsencrypt/live/fl.example.org/fullchain.pem": cert,
          "/etc/letsencrypt/live/fl.example.org/privkey.pem": key,
        }),
      );
      const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map((name) => `${name}_temp_path ${folder}/${name};`)
        .join(" ");
      await writeFile(
        join(folder, "nginx.conf"),
        `daemon off; pid ${folder}/pid; error_log stderr; events {}
        http { access_log off; ${temporary} include ${folder}/site.conf; }`,
      );
      const argv = ["-p", folder, "-e", "stderr", "-c", join(folder, "nginx.conf")];
      return spawn("nginx", argv, { stdio: "ignore" });
    },
  },
  caddy: {
    missing: () => spawnSync("caddy", ["version"]).error !== undefined,
    async start({ folder, port, aggregator, cert, key }) {
      const example = await readFile(repository("examples/proxy/Caddyfile"), "utf8");
      const site = replaced(example, {
        "fl.example.org {": `https://127.0.0.1:${port} {\n\ttls ${cert} ${key}`,
        "reverse_proxy 127.0.0.1:7400": `reverse_proxy 127.0.0.1:${aggregator}`,
      });
      const file = join(folder, "Caddyfile");
      await writeFile(file, `{\n\tadmin off\n\tauto_https off\n}\n${site}`);
      return spawn("caddy", ["run", "--config", file, "--adapter", "caddyfile"], {
        stdio: "ignore",
        env: { ...process.env, HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder },
      });
    },
  },
};

/** The status of the proxy's answer, and how its text begins; 0 where it does not listen yet. */
const ask = (port: number, path: string, headers: Record<string, string> = {}) =>
  new Promise<{ status: number; text: string }>((resolve) => {
    get(
      { host: "127.0.0.1", port, path, headers, rejectUnauthorized: false, agent: false },
      (response) => {
        let text = "";
        const done = () => {
          resolve({ status: response.statusCode!, text });
          response.destroy();
        };
        // A feed never ends, but its first event does.
        response.on("data", (bytes: Buffer) => {
          text += bytes.toString();
          if (text.includes("\n\n")) done();
        });
        response.once("end", done);
      },
    ).on("error", () => resolve({ status: 0, text: "" }));
  });

for (const [name, proxy] of Object.entries(PROXIES))
  test(`behind ${name}, by the example's configuration: a round is committed, nothing is told without a token, addresses are the clients'`, async (t) => {
    const pair = certificate();
    if (proxy.missing())
      return t.skip(`there is no ${name} here (Debian: apt-get install ${name})`);
    if (pair === undefined) return t.skip("there is no openssl here");
    const folder = await mkdtemp(join(tmpdir(), `fedflat-${name}-`));
    const [cert, key] = [join(folder, "cert.pem"), join(folder, "key.pem")];
    await writeFile(cert, pair.cert);
    await writeFile(key, pair.key);
    const port = await freePort();
    const f = await federation(
      { rounds: 1, gather: 1 },
      { admission: { kind: "token", token: TOKEN } },
      { hosts: [`127.0.0.1:${port}`], trustedProxies: ["127.0.0.1"] },
    );
    const aggregator = Number(new URL(f.url).port);
    const child = await proxy.start({ folder, port, aggregator, cert, key });
    let client: RawClient | undefined;
    try {
      let ended = false;
      child.on("exit", () => (ended = true));
      await until(async () => {
        assert.ok(!ended, `${name} has ended`);
        return (await ask(port, "/livez")).status === 200;
      });
      const forged = { host: `localhost:${aggregator}` };
      for (const path of ["/status", "/metrics", "/page/events"]) {
        assert.equal((await ask(port, path)).status, 401, path);
        // Caddy answers by itself what is meant for no site of its own, with nothing.
        assert.equal((await ask(port, path, forged)).text.replace(/^This page asks .*\n$/, ""), "");
      }
      const authorization = `Bearer ${TOKEN}`;
      for (const path of ["/status", "/page/events"])
        assert.match((await ask(port, path, { authorization })).text, /waits for clients/);

      const url = `wss://127.0.0.1:${port}`;
      const forwardedFor = "192.0.2.7";
      const options = { url, seed: "a", token: TOKEN, insecure: true, from: "127.0.0.2" };
      client = new RawClient(options);
      await client.join();
      await client.work((_, model) => updateFor(model, () => 1));
      assert.equal((await f.aggregator.done).rounds, 1);
      // What a client says of its own address stands before what the proxy adds, and is not believed.
      const liar = new RawClient({
        ...options,
        seed: "b",
        headers: { "x-forwarded-for": forwardedFor },
      });
      await liar.join();
      liar.cut();
      const addresses = f.log.filter(({ msg }) => msg === "client connected");
      assert.deepEqual(
        addresses.map(({ address }) => address),
        ["127.0.0.2", "127.0.0.2"],
      );
    } finally {
      client?.cut();
      child.kill();
      await f.end();
      await rm(folder, { recursive: true, force: true });
    }
  });
