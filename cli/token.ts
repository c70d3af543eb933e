import { readFile } from "node:fs/promises";
import { ConfigError } from "../runtime/errors.js";

/** The text of a file that a flag names. @throws ConfigError `usage` */
async function readFor(flag: string, file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch {
    throw new ConfigError(
      "usage",
      `"--${flag}" expected a file that can be read, got "${file}"`,
    );
  }
}

/** What the flags of TLS name, read; nothing where none is given. @throws ConfigError `usage` */
export async function readTls(files: {
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly tlsCa?: string;
}): Promise<{ cert?: string; key?: string; ca?: string } | undefined> {
  const { tlsCert, tlsKey, tlsCa } = files;
  if ((tlsCert === undefined) !== (tlsKey === undefined))
    throw new ConfigError(
      "usage",
      `"--tls-cert" expected --tls-key beside it, and the other way round`,
    );
  if (tlsCert === undefined && tlsCa === undefined) return undefined;
  return {
    ...(tlsCert && { cert: await readFor("tls-cert", tlsCert) }),
    ...(tlsKey && { key: await readFor("tls-key", tlsKey) }),
    ...(tlsCa && { ca: await readFor("tls-ca", tlsCa) }),
  };
}

/** The token in a file. @throws ConfigError `usage` */
export async function readToken(file: string): Promise<string> {
  const text = await readFor("token-file", file);
  const token = text.trim();
  if (token === "")
    throw new ConfigError(
      "usage",
      `"--token-file" expected a token in "${file}", got an empty file`,
    );
  return token;
}
