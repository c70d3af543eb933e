import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { nodePlatform } from "../../runtime/platform/node.js";
import { FASHION, start } from "./command.js";
import { until } from "../until.js";

/** A folder of certificates that openssl made: `<name>.crt` and `<name>.key`. */
function openAuthority(folder: string) {
  const file = (name: string) => join(folder, name);
  const openssl = (line: string) =>
    execFileSync("openssl", line.split(" "), { cwd: folder, stdio: "ignore" });
  const key = (name: string) =>
    `-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=${name} -keyout ${name}.key`;
  writeFileSync(
    file("ca.cnf"),
    "[ca]\ndefault_ca=it\n[it]\ndatabase=index\ndefault_md=sha256\ndefault_crl_days=1\n",
  );
  writeFileSync(file("index"), "");
  writeFileSync(file("leaf.cnf"), "subjectAltName=IP:127.0.0.1\n");
  return {
    file,
    text: (name: string) => readFileSync(file(name), "utf8"),
    root: (name: string) => openssl(`req -x509 -days 1 ${key(name)} -out ${name}.crt`),
    leaf(name: string, authority: string, days = 1) {
      openssl(`req ${key(name)} -out ${name}.csr`);
      openssl(
        `x509 -req -in ${name}.csr -CA ${authority}.crt -CAkey ${authority}.key -CAcreateserial -days ${days} -extfile leaf.cnf -out ${name}.crt`,
      );
    },
    /** Writes `revoked.crl`. */
    revoke(name: string, authority: string) {
      const as = `ca -config ca.cnf -keyfile ${authority}.key -cert ${authority}.crt`;
      openssl(`${as} -revoke ${name}.crt`);
      openssl(`${as} -gencrl -out revoked.crl`);
    },
  };
}

test("mutual TLS: in comes who has a certificate of the authority, and nobody else", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "fedflat-mutual-"));
  const authority = openAuthority(folder);
  const { file, text } = authority;
  try {
    authority.root("ward");
  } catch {
    rmSync(folder, { recursive: true });
    return t.skip("no openssl here");
  }
  authority.root("other");
  for (const name of ["server", "member", "revoked"]) authority.leaf(name, "ward");
  authority.leaf("expired", "ward", -1);
  authority.leaf("foreign", "other");
  authority.revoke("revoked", "ward");

  const server = start(
    ...["serve", "--model", "fashion-small", "--rounds", "1", "--gather", "2"],
    ...["--tls-cert", file("server.crt"), "--tls-key", file("server.key")],
    ...["--tls-ca", file("ward.crt"), "--tls-crl", file("revoked.crl")],
    ...["--run", file("run"), "--port", "0", "--json"],
  );
  const joining = (url: string, name: string) =>
    start(
      ...["join", "--url", url, "--data", FASHION, "--part", "1/200"],
      ...["--tls-ca", file("ward.crt"), "--state", file(`${name}.state`)],
      ...["--tls-cert", file(`${name}.crt`), "--tls-key", file(`${name}.key`)],
    );
  try {
    const [, line] = await server.until(/^(\{"event":"listening".*\})$/m);
    const { url } = JSON.parse(line) as { url: string };
    assert.match(url, /^wss:/);

    const member = joining(url, "member");
    await member.until(/Waiting: Round 1 waits for clients/);
    member.process.kill("SIGTERM");
    const expired = await joining(url, "expired").ended;
    assert.equal(expired.code, 2);
    assert.match(
      expired.stderr,
      /"--tls-cert" expected a certificate that is still valid, got one that was until/,
    );

    const dial = (name?: string) =>
      new Promise<string>((resolve) => {
        const own = name && {
          cert: text(`${name}.crt`),
          key: text(`${name}.key`),
        };
        const tls = { ca: text("ward.crt"), ...own };
        const socket = nodePlatform().openSocket(url, { tls });
        socket.onOpen = () => {
          resolve("in");
          socket.close();
        };
        socket.onClose = (_, reason) => resolve(reason);
      });
    assert.equal(await dial("member"), "in");
    assert.match(await dial(), /asks for a certificate, and this client has/);
    for (const name of ["expired", "foreign", "revoked"])
      assert.match(await dial(name), /another authority, expired or revoked/);
    for (const reason of [
      "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE",
      "CERT_HAS_EXPIRED",
      "CERT_REVOKED",
      "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
    ])
      // The log is written a moment after the connection is closed.
      await until(() => text("run/log.jsonl").includes(`"reason":"${reason}"`));
    await member.ended;
  } finally {
    server.process.kill("SIGTERM");
    await server.ended;
    rmSync(folder, { recursive: true, force: true });
  }
});
