import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Outcome } from "../../runtime/client.js";
import { random } from "../../runtime/tensors/random.js";
import type { GivenSettings } from "../../aggregator/settings.js";
import { stateFolder } from "../../aggregator/storage/run-folder.js";
import { fileLedger } from "../../aggregator/storage/files.js";
import { undisturbed } from "./crash-points.js";
import { CLIENTS, labClient } from "./fixtures.js";

/** The most persistence calls that a life of the server lasts. */
const LONGEST_LIFE = 60;

/**
 * A real server on a real disk, killed so many times at persistence calls that the seed decides and
 * started again each time, with real clients, who are started again with it so that nobody waits
 * out a back-off. Fails where the run does not end like one that was left alone.
 */
export async function survivesKills(
  kills: number,
  seed: string,
  mode: GivenSettings = {},
): Promise<void> {
  const settings = { ...mode, rounds: 2 * kills };
  const expected = (await undisturbed(settings)).outcome;
  const folder = await mkdtemp(join(tmpdir(), "fedflat-kills-"));
  const port = await freePort();
  const chance = random("kills", seed);
  const clients = Array.from(
    { length: CLIENTS },
    (_, i) => labClient(i, `ws://127.0.0.1:${port}`).client,
  );
  try {
    let running: Promise<Outcome>[] = [];
    const restart = async () => {
      await Promise.all(clients.map((client) => client.stop({ force: true })));
      running = clients.map((client) => client.run());
    };
    for (let life = 0; ; life++) {
      const call = life < kills ? 1 + chance.integer(LONGEST_LIFE) : 0;
      const end = await liveUntilDeath(
        [folder, port, call, "lab", JSON.stringify(settings)],
        restart,
      );
      if (end === "SIGKILL") continue;
      assert.equal(end, 0, "the server ends well when it is not killed");
      break;
    }
    for (const { reason, message } of await Promise.all(running))
      assert.equal(reason, "finished", message);
    const lines = (await readFile(join(folder, "rounds.jsonl"), "utf8"))
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as unknown);
    const ledger = fileLedger(stateFolder(folder));
    const none = { sha256: "", bytes: new Uint8Array() };
    const { history } = await ledger.open({ model: none, state: none });
    await ledger.close();
    const committed = history.map(({ round, members, line, model, state }) => ({
      round,
      model,
      state,
      line,
      members: members.map(({ client, sha256 }) => ({ client, sha256 })),
    }));
    assert.deepEqual(committed, expected.rounds);
    assert.deepEqual(
      lines,
      history.slice(1).map(({ line }) => line),
    );
  } finally {
    await Promise.all(clients.map((client) => client.stop({ force: true })));
    await rm(folder, { recursive: true, force: true });
  }
}

/** Runs the server to its end: its exit code, or the signal that ended it. */
export async function liveUntilDeath(
  args: readonly (string | number)[],
  listens: () => Promise<void>,
): Promise<number | string> {
  const server = spawn(
    process.execPath,
    [fileURLToPath(new URL("./killed-server.js", import.meta.url)), ...args.map(String)],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  server.stdout.once("data", () => void listens());
  const [code, signal] = (await once(server, "exit")) as [number | null, string | null];
  return code ?? signal ?? "";
}

/** A port of loopback that nobody uses now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
