import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { readdir, readFile, unlink } from "node:fs/promises";
import { join } from "node:path";
import { ConfigError } from "../../runtime/errors.js";
import { makeFolder, nodeFiles, writeWhole } from "../../runtime/platform/node-files.js";
import { sha256Hex } from "../../runtime/platform/node-sha256.js";

/**
 * The keys that are allowed to take part, in a folder that an operator's command and a running
 * server share:
 *
 *     tokens/<SHA-256 of a token>   a token that was not used yet
 *     enrolled/<client id>          a client that is allowed to take part
 *     revoked/<client id>           a client that no longer is
 *
 * Each entry is a small JSON file. A token becomes a client, and a client a revoked one, by a
 * rename: that happens once, however many try it at the same moment.
 */
export interface KeyRing {
  /** Makes a one-time token; it is kept only as its hash. */
  issue(label: string, validSeconds: number): Promise<string>;
  admits(client: string): Promise<boolean>;
  /**
   * Enrols the client for a token that is good; false where it is used, too old or none of ours, or
   * the client was revoked.
   */
  redeem(token: string, client: string): Promise<boolean>;
  /** @throws ConfigError `usage` where no such client is enrolled. */
  revoke(client: string): Promise<void>;
  enrolled(): Promise<ReadonlySet<string>>;
  list(): Promise<readonly Enrolment[]>;
  /** Tokens that were not used yet, those that are too old too. */
  tokens(): Promise<readonly UnusedToken[]>;
  /** @throws ConfigError `usage` where there is no such token. */
  revokeToken(id: string): Promise<void>;
}

interface UnusedToken {
  /** The first 16 digits of the token's SHA-256: they tell which it is, and are no token. */
  readonly id: string;
  readonly label: string;
  /** Milliseconds since 1970. */
  readonly expires: number;
}

export interface Enrolment {
  readonly client: string;
  readonly label: string;
  readonly state: "enrolled" | "revoked";
}

const isId = (name: string): boolean => /^[0-9a-f]{64}$/.test(name);

const isMissing = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === "ENOENT";

function whetherMissing(error: unknown): true {
  if (isMissing(error)) return true;
  throw error;
}

const idOf = (name: string): string => name.slice(0, 16);

/** The name of a token in logs and lists, where the token itself must not appear. */
export const tokenId = (token: string): string => idOf(sha256Hex(token));

/**
 * Opens the folder, and makes it where it is missing.
 * @param mustExist refuse a folder that holds no keys, which then is not made
 * @throws ConfigError `keys-folder`
 */
export async function openKeyRing(
  folder: string,
  { mustExist = false }: { readonly mustExist?: boolean } = {},
): Promise<KeyRing> {
  const inside = (kind: "tokens" | "enrolled" | "revoked") => join(folder, kind);
  if (mustExist && !existsSync(inside("enrolled")))
    throw new ConfigError(
      "keys-folder",
      `"keys" expected a folder that fedflat enroll or serve --keys has made, got "${folder}", ${existsSync(folder) ? "which is none" : "which does not exist"}`,
    );
  for (const kind of ["tokens", "enrolled", "revoked"] as const) makeFolder(inside(kind), 0o700);

  async function read(path: string): Promise<{ label: string; expires: number } | undefined> {
    try {
      const value = JSON.parse(await readFile(path, "utf8")) as {
        label?: unknown;
        expires?: unknown;
      } | null;
      return {
        label: String(value?.label ?? ""),
        expires: Number(value?.expires),
      };
    } catch (error) {
      if (isMissing(error) || error instanceof SyntaxError) return undefined;
      throw error;
    }
  }

  /** Moves an entry, durably; false where it is not there. */
  async function move(
    from: ["tokens" | "enrolled", string],
    to: ["enrolled" | "revoked", string],
  ): Promise<boolean> {
    try {
      await nodeFiles.rename(join(inside(from[0]), from[1]), join(inside(to[0]), to[1]));
    } catch (error) {
      if (isMissing(error)) return false;
      throw error;
    }
    await nodeFiles.syncFolder(inside(to[0]));
    await nodeFiles.syncFolder(inside(from[0]));
    return true;
  }

  const names = async (kind: "tokens" | "enrolled" | "revoked") =>
    (await readdir(inside(kind))).filter(isId);
  const has = async (kind: "enrolled" | "revoked", client: string) =>
    (await read(join(inside(kind), client))) !== undefined;

  return {
    async issue(label, validSeconds) {
      const token = randomBytes(24).toString("base64url");
      const expires = Date.now() + 1000 * validSeconds;
      await writeWhole(
        nodeFiles,
        inside("tokens"),
        sha256Hex(token),
        new TextEncoder().encode(JSON.stringify({ label, expires }) + "\n"),
      );
      return token;
    },
    admits: (client) => has("enrolled", client),
    async redeem(token, client) {
      const name = sha256Hex(token);
      const entry = await read(join(inside("tokens"), name));
      if (entry === undefined || !(entry.expires > Date.now())) return false;
      if (await has("revoked", client)) return false;
      return move(["tokens", name], ["enrolled", client]);
    },
    async revoke(client) {
      const known = isId(client);
      if (!known || !(await move(["enrolled", client], ["revoked", client])))
        throw new ConfigError(
          "usage",
          `"--client" expected the id of an enrolled client, got ${client}`,
        );
    },
    enrolled: async () => new Set(await names("enrolled")),
    async list() {
      const entries: Enrolment[] = [];
      for (const state of ["enrolled", "revoked"] as const)
        for (const client of (await names(state)).sort()) {
          const entry = await read(join(inside(state), client));
          if (entry) entries.push({ client, label: entry.label, state });
        }
      return entries;
    },
    async tokens() {
      const unused: UnusedToken[] = [];
      for (const name of await names("tokens")) {
        const entry = await read(join(inside("tokens"), name));
        if (entry) unused.push({ id: idOf(name), ...entry });
      }
      return unused.sort((a, b) => a.expires - b.expires);
    },
    async revokeToken(id) {
      const name = (await names("tokens")).find((name) => idOf(name) === id);
      const path = name === undefined ? undefined : join(inside("tokens"), name);
      // Missing by now: it is used, or revoked, at this moment.
      const isGone = path === undefined || (await unlink(path).then(() => false, whetherMissing));
      if (isGone)
        throw new ConfigError(
          "usage",
          `"--token" expected the id of a token that was not used yet, got ${id}`,
        );
      await nodeFiles.syncFolder(inside("tokens"));
    },
  };
}
