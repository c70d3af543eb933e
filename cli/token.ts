import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createSecureContext } from "node:tls";
import { ConfigError } from "../runtime/errors.js";

/** The text of a file that a flag names. @throws ConfigError `usage` */
async function readFor(flag: string, file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch {
    throw new ConfigError("usage", `"--${flag}" expected a file that can be read, got "${file}"`);
  }
}

/**
 * What the flags of TLS name, read and looked at; nothing where none is given.
 * @throws ConfigError `usage` for a file that is missing or no PEM, a key of another certificate, a
 * certificate whose time is over.
 */
export async function readTls(files: {
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly tlsCa?: string;
  readonly tlsCrl?: string;
}): Promise<{ cert?: string; key?: string; ca?: string; crl?: string } | undefined> {
  const { tlsCert, tlsKey, tlsCa, tlsCrl } = files;
  if ((tlsCert === undefined) !== (tlsKey === undefined))
    throw new ConfigError(
      "usage",
      `"--tls-cert" expected --tls-key beside it, and the other way round`,
    );
  if (tlsCrl !== undefined && tlsCa === undefined)
    throw new ConfigError("usage", `"--tls-crl" expected --tls-ca beside it`);
  if (tlsCert === undefined && tlsCa === undefined) return undefined;
  const cert = tlsCert && (await readFor("tls-cert", tlsCert));
  const key = tlsKey && (await readFor("tls-key", tlsKey));
  const ca = tlsCa && (await readFor("tls-ca", tlsCa));
  const crl = tlsCrl && (await readFor("tls-crl", tlsCrl));
  const certificate = cert && certificateIn("tls-cert", cert);
  if (ca) certificateIn("tls-ca", ca);
  const secret =
    key && pem("tls-key", "a private key without a passphrase", () => createPrivateKey(key));
  if (certificate && secret && !certificate.checkPrivateKey(secret))
    throw new ConfigError(
      "usage",
      `"--tls-key" expected the key of the certificate in --tls-cert, got that of another`,
    );
  if (crl) pem("tls-crl", "a certificate revocation list", () => createSecureContext({ crl }));
  return {
    ...(cert && { cert }),
    ...(key && { key }),
    ...(ca && { ca }),
    ...(crl && { crl }),
  };
}

function pem<T>(flag: string, expected: string, read: () => T): T {
  try {
    return read();
  } catch {
    throw new ConfigError("usage", `"--${flag}" expected ${expected} in PEM, got something else`);
  }
}

function certificateIn(flag: string, text: string): X509Certificate {
  const certificate = pem(flag, "a certificate", () => new X509Certificate(text));
  if (Date.parse(certificate.validTo) < Date.now())
    throw new ConfigError(
      "usage",
      `"--${flag}" expected a certificate that is still valid, got one that was until ${certificate.validTo}`,
    );
  return certificate;
}

/** The token in a file. @throws ConfigError `usage` */
export async function readToken(file: string, flag = "token-file"): Promise<string> {
  const text = await readFor(flag, file);
  const token = text.trim();
  if (token === "")
    throw new ConfigError("usage", `"--${flag}" expected a token in "${file}", got an empty file`);
  return token;
}
