import assert from "node:assert/strict";
import { Aggregator } from "../../aggregator/run/aggregator.js";
import type { GivenSettings } from "../../aggregator/settings.js";
import { fileLedger } from "../../aggregator/storage/files.js";
import { memoryStore } from "../../runtime/platform/memory-store.js";
import type { StateStore } from "../../runtime/platform/platform.js";
import { simulatedDisk, type Disk, type Fault, type Survival } from "./disk.js";
import { CLIENTS, LAB, labClient, labModel } from "./fixtures.js";

const model = labModel();
export const FOLDER = "/run/state";

/**
 * The runs that are crashed. Where all clients make a round, nothing but what is committed decides
 * a buffered one either.
 */
export const MODES: Readonly<Record<string, GivenSettings>> = {
  synchronous: {},
  buffered: {
    mode: "buffered",
    algorithm: "fedavg",
    buffer: CLIENTS,
    concurrency: CLIENTS,
  },
};

/** One thing that goes wrong in a run, and how the machine comes up again. */
export interface Crash {
  readonly call: number;
  readonly fault: Fault;
  /** What the power cut leaves; for other faults the power stays on. */
  readonly survival?: Survival;
  /** A second crash so many calls into the life after. */
  readonly again?: Crash;
}

export const nameOf = ({ call, fault, survival, again }: Crash): string =>
  `${fault}${survival ? ` (${survival})` : ""} at call ${call}${again ? `, then ${nameOf(again)}` : ""}`;

/**
 * What must be the same whatever happened: every round's line, who is in it with which update, and
 * the clients' states.
 */
export interface Outcome {
  readonly rounds: readonly unknown[];
  readonly model: string;
  readonly states: readonly string[];
}

/** The run in which nothing goes wrong, and the calls that it makes to its disk. */
export async function undisturbed(
  settings: GivenSettings = {},
): Promise<{ readonly outcome: Outcome; readonly calls: readonly string[] }> {
  const federation = newFederation(settings);
  const disk = simulatedDisk();
  const outcome = await federation.live(disk);
  assert.ok(outcome, "the undisturbed run ends");
  return { outcome, calls: disk.calls };
}

/** The files of the ledger after a run in which nothing goes wrong. */
export async function stateFolderAfter(
  settings: GivenSettings,
): Promise<ReadonlyMap<string, Uint8Array>> {
  const disk = simulatedDisk();
  await newFederation(settings).live(disk);
  return filesOf(disk);
}

/**
 * A run of ten rounds with a crash in it, restarted until it ends; fails where anything of it
 * differs from the undisturbed one.
 */
export async function survives(
  crash: Crash,
  expected: Outcome,
  settings: GivenSettings = {},
): Promise<void> {
  const federation = newFederation(settings);
  let disk = simulatedDisk();
  let next: Crash | undefined = crash;
  for (let life = 1; ; life++) {
    assert.ok(life <= 6, "it does not come to an end");
    const now: Crash | undefined = next;
    next = now?.again;
    if (now !== undefined) disk.break(disk.calls.length + now.call, now.fault);
    const outcome = await federation.live(disk);
    if (now?.survival !== undefined) disk = disk.afterPowerCut(now.survival, now.call);
    else if (outcome === undefined) disk = restarted(disk);
    // The end of a run is not the end of its ledger: what it promised must still be there.
    if (outcome === undefined || now?.survival !== undefined) continue;
    assert.deepEqual(outcome, expected);
    return;
  }
}

/** The same disk for the next process, which sets no faults. */
function restarted(disk: Disk): Disk {
  disk.break(Infinity, "fail");
  return disk;
}

interface Federation {
  /**
   * One life of the aggregator, and of the clients' processes; the outcome where the run came to
   * its end.
   */
  live(disk: Disk): Promise<Outcome | undefined>;
}

function newFederation(settings: GivenSettings): Federation {
  const stores = Array.from({ length: CLIENTS }, memoryStore);
  /** assignment -> round, of every update that some client was told is committed. */
  const promised = new Map<string, number>();
  return {
    async live(disk) {
      let aggregator: Aggregator;
      try {
        aggregator = await Aggregator.open({
          model,
          settings: { ...LAB, ...settings },
          ledger: fileLedger(FOLDER, disk),
        });
      } catch (error) {
        // A disk that fails while a server starts keeps it from starting, with a sentence.
        assert.match((error as Error).message, /simulated|expected|full disk/);
        return undefined;
      }
      const latest = Math.max(0, ...promised.values());
      const { committed } = aggregator.status();
      assert.ok(
        committed >= latest,
        `a client knows that round ${latest} is committed, the ledger has ${committed}`,
      );
      const clients = stores.map((store, i) => labClient(i, aggregator, store).client);
      for (const client of clients)
        client.on("assignment", ({ assignment, round, what }) => {
          if (what === "committed") promised.set(assignment, round!);
        });
      const running = clients.map((client) => client.run());
      const ending = await aggregator.done;
      if (ending.reason === "finished") await Promise.all(running);
      else {
        await Promise.all(clients.map((client) => client.stop({ force: true })));
        await Promise.all(running);
      }
      await aggregator.stop().catch(() => {});
      if (ending.reason !== "finished") {
        assert.match(ending.message, /storage|cannot be written|simulated/);
        return undefined;
      }
      if (disk.isOff) return undefined;
      return await outcomeOf(disk, stores, promised);
    },
  };
}

/** Reads the ledger as the next server would, without changing the disk. */
async function outcomeOf(
  disk: Disk,
  stores: readonly StateStore[],
  promised: ReadonlyMap<string, number>,
): Promise<Outcome> {
  const copy = simulatedDisk(await filesOf(disk));
  const opened = await fileLedger(FOLDER, copy).open({
    model: { sha256: "", bytes: new Uint8Array() },
    state: { sha256: "", bytes: new Uint8Array() },
  });
  const { history, last } = opened;
  assert.deepEqual(opened.notes, []);
  assert.deepEqual(
    history.map(({ round }) => round),
    history.map((_, round) => round),
    "rounds follow one another",
  );
  const counted = history.flatMap(({ members }) => members);
  const assignments = new Map(counted.map((m) => [m.assignment, m.round]));
  assert.equal(assignments.size, counted.length, "no update is counted twice");
  for (const [assignment, round] of promised)
    assert.equal(assignments.get(assignment), round, "what was promised is in the ledger");
  return {
    rounds: history.map(({ round, members, line, model, state }) => ({
      round,
      model,
      state,
      line,
      members: members.map(({ client, sha256 }) => ({ client, sha256 })),
    })),
    model: last.model.sha256,
    states: await Promise.all(stores.map((store) => stateOf(store, opened.run))),
  };
}

const PATHS = [FOLDER, `${FOLDER}/blobs`];

async function filesOf(disk: Disk): Promise<Map<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>();
  for (const folder of PATHS)
    for (const name of await disk.list(folder))
      files.set(`${folder}/${name}`, (await disk.read(`${folder}/${name}`))!);
  return files;
}

/** The hash of the algorithm's state that a client's record names. */
async function stateOf(store: StateStore, run: string): Promise<string> {
  const bytes = (await store.get(`run.${run}`)) ?? new Uint8Array();
  const record = JSON.parse(new TextDecoder().decode(bytes)) as {
    state: { sha256: string } | null;
    pending: unknown[];
  };
  assert.deepEqual(record.pending, []);
  return record.state?.sha256 ?? "none";
}

/** Every crash of a run with these calls: each call, each fault that it can have. */
export function crashesOf(calls: readonly string[]): Crash[] {
  return calls.flatMap((name, call): Crash[] => [
    { call, fault: "fail" },
    ...(/^write/.test(name) ? [{ call, fault: "short" } as const] : []),
    { call, fault: "full" },
    ...(["synced", "all", "some"] as const).map(
      (survival) => ({ call, fault: "cut", survival }) as const,
    ),
  ]);
}
