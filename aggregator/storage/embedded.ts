import { randomUUID } from "node:crypto";
import { FedflatError } from "../../runtime/errors.js";
import { sameWork, type Work } from "../rounds/participants.js";
import type { Ledger, Opened } from "./ledger.js";
import type {
  AssignmentKey,
  AssignmentRow,
  AttemptKey,
  AttemptRow,
  Claim,
  Claimed,
  CoordinatorStore,
  LeafStore,
  PartialFold,
} from "./store.js";

/** What one process asks of a store: its leaf is beside its coordinator, and dies with it. */
export interface EmbeddedStore extends Pick<
  CoordinatorStore,
  "begin" | "ask" | "end" | "seal" | "counted" | "partials" | "commit" | "abandon"
> {
  join(): EmbeddedLeaf;
}

export type EmbeddedLeaf = Pick<LeafStore, "leaf" | "claim" | "end" | "ship">;

type Row = { -readonly [K in keyof AssignmentRow]: AssignmentRow[K] };

/** The attempt that was opened last. */
interface Current {
  readonly row: { -readonly [K in keyof AttemptRow]: AttemptRow[K] };
  /** Clients that are counted in its round. */
  readonly members: Set<string>;
  readonly partials: Map<string, PartialFold>;
}

/**
 * The store of a run in one process: rows are maps, which end with the process, and what outlives
 * it is in the ledger. A call changes rows at once, before it returns its promise.
 * @param opened of the ledger: the attempt in it may begin again, and is not written again
 */
export function openEmbedded(
  ledger: Ledger,
  { epoch, attempt: reopened }: Pick<Opened, "epoch" | "attempt">,
): EmbeddedStore {
  /** By client; a client has few. */
  const rows = new Map<string, Row[]>();
  let current: Current | undefined;

  const find = ({ client, work }: AssignmentKey): Row | undefined =>
    rows.get(client)?.find((row) => sameWork(row.work, work));
  const all = (): Row[] => [...rows.values()].flat();
  const isCurrent = (key: AttemptKey): boolean =>
    current !== undefined && sameAttempt(current.row, key);

  async function end(ended: readonly AssignmentKey[], code: string): Promise<void> {
    for (const key of ended) {
      const row = find(key);
      if (row?.status === "asked") Object.assign(row, { status: "ended", code });
    }
  }

  return {
    end,
    join: () => leafOf(randomUUID(), { find, all, end, current: () => current }),

    async begin(attempt, { goal, staleness }, asked) {
      if (isCurrent(attempt)) return;
      if (reopened === undefined || !sameAttempt(reopened, attempt))
        await ledger.beginAttempt(epoch, attempt);
      current = {
        row: { ...attempt, goal, staleness, state: "open", claimed: 0 },
        members: new Set(),
        partials: new Map(),
      };
      await this.ask(asked);
    },

    async ask(asked) {
      for (const { id, client, work, lease } of asked) {
        if (find({ client, work })?.status === "asked") continue;
        const own = (rows.get(client) ?? []).filter((row) => !sameWork(row.work, work));
        // A client works on one thing at a time: what it was asked before will not come.
        for (const row of own)
          if (row.status === "asked") Object.assign(row, { status: "ended", code: "late" });
        rows.set(client, [...own, { id, client, work, lease, status: "asked" }]);
      }
    },

    async seal(attempt, least) {
      if (current === undefined || !isCurrent(attempt)) return false;
      const { row } = current;
      if (row.state === "open" && row.claimed >= least) row.state = "sealed";
      return row.state === "sealed";
    },

    counted: async (attempt) =>
      all()
        .filter(
          ({ status, into }) =>
            (status === "claimed" || status === "shipped") &&
            into === attempt.round &&
            isCurrent(attempt),
        )
        .sort((a, b) => (a.client < b.client ? -1 : 1)),

    partials: async (attempt) =>
      current !== undefined && isCurrent(attempt)
        ? [...current.partials.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
        : [],

    async commit(record, checkpoint, partials) {
      const { round } = record;
      const given = partials.flatMap((name) => current?.partials.get(name)?.members ?? []);
      const { row } = current ?? {};
      if (row?.state === "committed" && isCurrent(record)) return;
      if (row?.state !== "sealed" || !isCurrent(record) || !sameSets(given, record.members))
        throw claimsDiffer(`the members of a sealed attempt's partials`, record.members.length);
      if (row.claimed !== given.length)
        throw claimsDiffer(`the ${row.claimed} updates that were claimed`, given.length);
      await ledger.commit(epoch, record, checkpoint);
      row.state = "committed";
      const { staleness } = row;
      for (const one of all()) {
        if (one.status === "shipped" && one.into === round) one.status = "committed";
        else if (one.status === "asked" && one.work.round + staleness <= round)
          Object.assign(one, { status: "ended", code: staleness > 0 ? "stale" : "late" });
      }
      for (const [client, own] of rows) {
        const kept = own.filter(({ work }) => work.round + staleness >= round);
        if (kept.length > 0) rows.set(client, kept);
        else rows.delete(client);
      }
    },

    async abandon(attempt) {
      if (current !== undefined && isCurrent(attempt)) current.row.state = "abandoned";
      for (const row of all())
        if (sameAttempt(row.work, attempt) && row.status !== "ended")
          Object.assign(row, { status: "ended", code: "abandoned" });
      await ledger.abandonAttempt(epoch, attempt.round, attempt.attempt);
    },
  };
}

function leafOf(
  leaf: string,
  {
    find,
    all,
    end,
    current,
  }: {
    readonly find: (key: AssignmentKey) => Row | undefined;
    readonly all: () => readonly Row[];
    readonly end: LeafStore["end"];
    readonly current: () => Current | undefined;
  },
): EmbeddedLeaf {
  function claim(offer: Claim): Omit<Claimed, "client"> {
    const row = find(offer);
    if (row === undefined) return { outcome: "unknown" };
    const { status, code } = row;
    if (status === "ended") return { outcome: "ended", code };
    if (status === "asked") return take(row, offer);
    if (row.claim?.sha256 !== offer.sha256) return { outcome: "conflict" };
    if (status === "committed") return { outcome: "committed" };
    return status === "claimed" && row.leaf === leaf
      ? { outcome: "yours", into: row.into }
      : { outcome: "elsewhere" };
  }

  /** The permission, where the open attempt has room for it. */
  function take(row: Row, { client, work, ...claim }: Claim): Omit<Claimed, "client"> {
    const open = current();
    if (open?.row.state !== "open" || open.members.has(client) || !isCountedIn(open.row, work))
      return { outcome: "wait" };
    const into = open.row.round;
    Object.assign(row, { status: "claimed", leaf, into, claim });
    open.members.add(client);
    open.row.claimed++;
    if (open.row.claimed === open.row.goal) open.row.state = "sealed";
    return { outcome: "yours", into };
  }

  return {
    leaf,
    end,
    claim: async (offers) => offers.map((offer) => ({ client: offer.client, ...claim(offer) })),

    async ship(partial) {
      const { name, round, members } = partial;
      const open = current();
      if (open?.partials.has(name)) return;
      const isOver = open !== undefined && !["open", "sealed"].includes(open.row.state);
      if (isOver && sameAttempt(open.row, partial)) return;
      const own = all().filter(
        (row) => row.status === "claimed" && row.leaf === leaf && row.into === round,
      );
      if (open === undefined || !sameAttempt(open.row, partial) || !sameSets(members, own))
        throw claimsDiffer(`the ${own.length} clients claimed by the leaf`, members.length);
      for (const row of own) Object.assign(row, { status: "shipped", partial: name });
      open.partials.set(name, partial);
    },
  };
}

const sameAttempt = (a: AttemptKey, b: AttemptKey): boolean =>
  a.round === b.round && a.attempt === b.attempt;

/** Whether an update of this work may be counted in that attempt. */
const isCountedIn = ({ round, attempt, staleness }: AttemptRow, work: Work): boolean =>
  staleness > 0
    ? round >= work.round && round - work.round <= staleness
    : sameAttempt({ round, attempt }, work);

const sameSets = (
  clients: readonly string[],
  rows: readonly { readonly client: string }[],
): boolean => {
  const set = new Set(clients);
  return rows.length === set.size && rows.every(({ client }) => set.has(client));
};

const claimsDiffer = (expected: string, got: number): FedflatError =>
  new FedflatError("claims-differ", `"members" expected ${expected}, got ${got}`);
