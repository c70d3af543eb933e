import { randomBytes } from "node:crypto";
import { networkOf } from "../../../runtime/models/network.js";
import type { Aggregator } from "../../run/aggregator.js";
import { standingOf, type Client } from "../../clients/clients.js";
import { wordsOf } from "../../clients/troubles.js";
import type { Traffic } from "../metrics.js";
import type { AggregatorEvents } from "../../run/options.js";
import {
  CLIENT_FILTERS,
  PAGE_ROWS,
  type ClientCounts,
  type ClientFilter,
  type ClientRow,
  type LogEntry,
  type Now,
  type Role,
  type RoundPoint,
  type RunCard,
  type TableChange,
  type PageUpdate,
} from "./messages.js";
import { pastRounds, shortFigures, ROUNDS_KEPT } from "./round-points.js";

/** Milliseconds between two updates of a page. */
const PACE = 300;
const AFTERWARDS = 1000;
/**
 * Without news something is sent all the same after so long, for proxies that cut idle connections.
 */
const KEEP_ALIVE = 15_000;
const LOG_KEPT = 500;
/** Events of one kind within so long are one entry of the log. */
const TOGETHER = 5_000;

/** What one page looks at. */
interface Look {
  readonly role: Role;
  /** What it has already: nothing, or all up to a revision of this feed. */
  readonly feed: string;
  readonly since: number;
  readonly filter: ClientFilter;
  /** The first row of the table, counted from 0. */
  readonly from: number;
}

/** Where updates go. */
interface Sink {
  write(text: string): void;
  /** More is waiting to be sent than a page that reads would let wait. */
  readonly clogged: boolean;
  end(): void;
}

/**
 * What pages are told: everything once, then what has changed, a few times a second at most and
 * only while a page is open. Between pages it keeps the figures of the rounds and the log; the
 * clients are the aggregator's own.
 */
interface Feed {
  /** Follows the run until the function that is given back is called. */
  follow(look: Look, sink: Sink): () => void;
  /** Pages that are open. */
  readonly viewers: number;
  /** Something that no event tells of. */
  note(level: LogEntry["level"], text: string): void;
  close(): void;
}

/** What a client does in the round that is open, or did in the last one. */
interface Work {
  share: number;
  loss?: number;
  outcome?: string;
}

interface Viewer {
  readonly look: Look;
  readonly sink: Sink;
  /** The rows that this page has, as they were sent. */
  rows: Map<string, string>;
  order: string;
  total: number;
}

type Versioned<T> = T & { readonly revision: number };

export function openFeed(aggregator: Aggregator, traffic: Traffic, hasAdmin: boolean): Feed {
  const id = randomBytes(8).toString("hex");
  const viewers = new Set<Viewer>();
  const rounds = new Map<number, Versioned<RoundPoint>>();
  let log: Versioned<LogEntry>[] = [];
  let entries = 0;
  /** The kind of the last entry, and how often it happened. */
  let last = { kind: "", count: 0 };
  let work = new Map<string, Work>();
  /** The round takes updates of any client. */
  let anybody = false;
  let revision = 1;
  let sent = 0;
  let before = { now: "", counts: "" };
  let seen = { received: 0, sent: 0 };
  let timer: NodeJS.Timeout | undefined;
  /** When that timer fires, in the time of `performance.now()`. */
  let due = Infinity;
  let past: Promise<void> | undefined;

  // ---- what happens ----

  function learn(round: number, figures: Omit<RoundPoint, "round">): void {
    const known = rounds.get(round);
    rounds.set(round, { ...known, ...figures, round, revision: ++revision });
    for (const oldest of rounds.keys()) if (rounds.size > ROUNDS_KEPT) rounds.delete(oldest);
    wake();
  }

  function enter(
    level: LogEntry["level"],
    text: string,
    kind = "",
    many?: (count: number) => string,
  ): void {
    const time = Date.now();
    const latest = log.at(-1);
    const again =
      many !== undefined &&
      latest !== undefined &&
      last.kind === kind &&
      time - latest.time < TOGETHER;
    if (again) {
      last.count++;
      log[log.length - 1] = {
        ...latest,
        text: many(last.count),
        revision: ++revision,
      };
    } else {
      last = { kind, count: 1 };
      log.push({ number: ++entries, time, level, text, revision: ++revision });
      if (log.length > LOG_KEPT) log = log.slice(-LOG_KEPT);
    }
    wake();
  }

  const workOf = (client: string): Work => {
    let own = work.get(client);
    if (own === undefined) work.set(client, (own = { share: 0 }));
    return own;
  };

  const listeners: Listeners = {
    waiting: wake,
    client({ client, change, reason }) {
      const name = client.slice(0, 8);
      if (change === "joined")
        enter(
          reason === undefined ? "info" : "warning",
          `Client ${name} joined${reason ? `, but ${reason}` : ""}.`,
          `joined ${reason ?? ""}`,
          (count) => `${count} clients joined${reason ? `, but ${reason}` : ""}.`,
        );
      else if (change === "left")
        enter(
          "info",
          `The connection of client ${name} closed.`,
          "left",
          (count) => `The connections of ${count} clients closed.`,
        );
      else wake();
    },
    opened({ round, attempt, selected, goal }) {
      anybody = selected.length === 0;
      // Where nobody is asked for the round, clients are at work across rounds.
      work = anybody
        ? new Map([...work].filter(([, own]) => own.outcome === undefined))
        : new Map(selected.map((client) => [client, { share: 0 }]));
      enter(
        "info",
        `Round ${round}${attempt > 1 ? `, attempt ${attempt},` : ""} opened: ${anybody ? `for ${plural(goal, "update")} of any client` : `${plural(selected.length, "client")} asked`}.`,
      );
    },
    progress({ client, batch, batches, loss }) {
      const own = anybody ? workOf(client) : work.get(client);
      if (own === undefined || own.outcome !== undefined) return;
      own.share = batches > 0 ? batch / batches : 0;
      own.loss = loss;
      wake();
    },
    counted({ client }) {
      const own = workOf(client);
      own.share = 1;
      own.outcome = "counted";
      wake();
    },
    missed({ client, round, code, reason = code }) {
      workOf(client).outcome = code;
      enter(
        "warning",
        `Round ${round} goes without client ${client.slice(0, 8)}: ${sentenceEnd(reason)}`,
        `missed ${code}`,
        (count) =>
          `Round ${round} goes without ${count} clients, the last of them: ${sentenceEnd(reason)}`,
      );
    },
    refused({ client, code, message }) {
      // One that came late is told so too, and counts as missed.
      if (code === "late" || code === "stale" || code === "abandoned") return;
      workOf(client).outcome = code;
      enter(
        "warning",
        `Refused an update of client ${client.slice(0, 8)} (${code}): ${message}.`,
        `refused ${code}`,
        (count) => `Refused ${count} updates (${code}): ${message}.`,
      );
    },
    doubted({ client, round, reason }) {
      enter(
        "warning",
        `Figures of client ${client.slice(0, 8)} are doubtful in round ${round}: ${sentenceEnd(reason)}`,
        `doubted ${round}`,
        (count) =>
          `${count} figures of clients are doubtful in round ${round}, the last one: ${sentenceEnd(reason)}`,
      );
    },
    abandoned({ round, attempt, reason }) {
      enter("warning", `Round ${round}, attempt ${attempt} was abandoned: ${sentenceEnd(reason)}`);
    },
    round(record, timings) {
      learn(record.round, {
        ...shortFigures({ rounds: record, timings }),
        receivedBytes: traffic.received - seen.received,
        sentBytes: traffic.sent - seen.sent,
      });
      seen = { ...traffic };
      enter(
        "good",
        `Round ${record.round} is committed: ${plural(record.participants.length, "update")} in ${timings.seconds.toFixed(1)} s.`,
      );
    },
    evaluation(record) {
      learn(record.round, shortFigures({ evaluations: record }));
    },
  };
  for (const [event, listener] of Object.entries(listeners))
    aggregator.on(event as keyof AggregatorEvents, listener);

  // ---- what is told ----

  const card = ({ role }: Look): RunCard => {
    const { settings, description } = aggregator;
    const { layers } = networkOf(description);
    const shape = description.input.join(" × ");
    return {
      run: aggregator.run,
      feed: id,
      model: `${plural(layers.length, "layer")} on ${shape}`,
      algorithm: settings.algorithm,
      zeta: settings.zeta,
      rounds: settings.rounds,
      layers: [
        ...layers.flatMap(({ tap }) => (tap === undefined ? [] : [tap.name.replace(".", " ")])),
        ...(settings.manIncludesLogits ? ["logits"] : []),
      ],
      role,
      hasAdmin,
    };
  };

  function now(): Now {
    const { waitsFor, ...situation } = aggregator.situation();
    let trained = 0;
    for (const { share, outcome } of work.values())
      if (outcome === undefined || outcome === "counted") trained += share;
    return {
      ...situation,
      sentence: waitsFor,
      trained: work.size === 0 ? 0 : short(trained / work.size),
    };
  }

  function counts(): ClientCounts {
    const { clients } = aggregator.load();
    let all = 0;
    for (const count of Object.values(clients)) all += count;
    let counted = 0;
    let missed = 0;
    for (const { outcome } of work.values())
      if (outcome === "counted") counted++;
      else if (outcome !== undefined) missed++;
    return { all, ...clients, counted, missed };
  }

  function isShown(client: Readonly<Client>, filter: ClientFilter): boolean {
    if (filter === "all") return true;
    if (filter !== "counted" && filter !== "missed") return standingOf(client) === filter;
    const outcome = work.get(client.id)?.outcome;
    return outcome !== undefined && (outcome === "counted") === (filter === "counted");
  }

  function row(client: Readonly<Client>): ClientRow {
    const own = work.get(client.id);
    const { train } = client.troubles;
    return {
      id: client.id,
      standing: standingOf(client),
      note: client.lacks ? `lacks ${client.lacks}` : train?.until ? wordsOf(train) : client.reason,
      samples: client.samples,
      ...(own && {
        share: Math.round(own.share * 100) / 100,
        loss: own.loss === undefined ? undefined : short(own.loss),
        outcome: own.outcome,
      }),
    };
  }

  /** What has changed in the part of the table that a page shows. */
  function tableFor(viewer: Viewer): TableChange | undefined {
    const { filter, from } = viewer.look;
    const rows: ClientRow[] = [];
    const have = new Map<string, string>();
    const ids: string[] = [];
    let total = 0;
    for (const client of aggregator.clients()) {
      if (!isShown(client, filter)) continue;
      if (total >= from && total < from + PAGE_ROWS) {
        const one = row(client);
        const text = JSON.stringify(one);
        ids.push(client.id);
        have.set(client.id, text);
        if (viewer.rows.get(client.id) !== text) rows.push(one);
      }
      total++;
    }
    const order = ids.join();
    const moved = order !== viewer.order;
    if (!moved && rows.length === 0 && total === viewer.total) return undefined;
    viewer.rows = have;
    viewer.order = order;
    viewer.total = total;
    return { total, rows, ...(moved && { order: ids }) };
  }

  const since = (revision: number): Pick<PageUpdate, "rounds" | "log"> => {
    const newer = <T>(all: Iterable<Versioned<T>>): T[] => {
      const found: T[] = [];
      for (const { revision: own, ...one } of all) if (own > revision) found.push(one as T);
      return found;
    };
    const [points, news] = [newer<RoundPoint>(rounds.values()), newer<LogEntry>(log)];
    return {
      ...(points.length > 0 && { rounds: points }),
      ...(news.length > 0 && { log: news }),
    };
  };

  const eventOf = (update: PageUpdate) => `data: ${JSON.stringify(update)}\n\n`;

  /** Something has changed: tells it soon, if there is anybody to be told. */
  function wake(): void {
    if (viewers.size > 0 && performance.now() + PACE < due) tellIn(PACE);
  }

  function tellIn(milliseconds: number): void {
    clearTimeout(timer);
    timer = setTimeout(tell, milliseconds);
    due = performance.now() + milliseconds;
  }

  function tell(): void {
    due = Infinity;
    const [situation, clients] = [now(), counts()];
    // The time that is left goes by without saying.
    const nowText = JSON.stringify({ ...situation, left: undefined });
    const countsText = JSON.stringify(clients);
    const update: PageUpdate = {
      ...(nowText !== before.now && { now: situation }),
      ...(countsText !== before.counts && { clients }),
      ...(sent !== revision && { ...since(sent), revision }),
    };
    before = { now: nowText, counts: countsText };
    sent = revision;
    const shared = Object.keys(update).length > 0 ? eventOf(update) : "";
    let changed = shared !== "";
    for (const viewer of viewers) {
      if (viewer.sink.clogged) {
        viewer.sink.end();
        continue;
      }
      const table = tableFor(viewer);
      const text = shared + (table ? eventOf({ table }) : "");
      if (text === "") continue;
      changed = true;
      viewer.sink.write(text);
    }
    // Not everything that changes a client's state is an event: one more look when the events are
    // over.
    if (changed && viewers.size > 0) tellIn(AFTERWARDS);
  }

  const keepAlive = setInterval(() => {
    for (const { sink } of viewers) sink.write(":\n\n");
  }, KEEP_ALIVE);
  keepAlive.unref();

  /** The rounds of the time before this process, read when the first page asks. */
  function readPast(): Promise<void> {
    const { folder, committed } = aggregator;
    if (folder === undefined) return Promise.resolve();
    return pastRounds(folder, committed).then((points) => {
      const recent = [...rounds.values()];
      rounds.clear();
      for (const { round, ...figures } of points) learn(round, figures);
      for (const { round, revision: _, ...figures } of recent) learn(round, figures);
    });
  }

  return {
    get viewers() {
      return viewers.size;
    },
    note: enter,
    follow(look, sink) {
      const viewer: Viewer = {
        look,
        sink,
        rows: new Map(),
        order: "",
        total: -1,
      };
      let gone = false;
      past ??= readPast().catch((error: unknown) =>
        aggregator.log.warn({ err: error }, "the run's folder cannot be read for the page"),
      );
      void past.then(() => {
        if (gone) return;
        // What the others have not been told yet is told to them now, so that one revision holds
        // for all.
        clearTimeout(timer);
        tell();
        sink.write(
          eventOf({
            run: card(look),
            now: now(),
            clients: counts(),
            ...since(look.feed === id ? look.since : 0),
            table: tableFor(viewer),
            revision,
          }),
        );
        viewers.add(viewer);
      });
      return () => {
        gone = true;
        viewers.delete(viewer);
      };
    },
    close() {
      clearTimeout(timer);
      clearInterval(keepAlive);
      for (const { sink } of viewers) sink.end();
      for (const [event, listener] of Object.entries(listeners))
        aggregator.off(event as keyof AggregatorEvents, listener);
    },
  };
}

/** A reason as the end of a sentence: others may have ended it themselves. */
const sentenceEnd = (reason: string) => (reason.endsWith(".") ? reason : `${reason}.`);

const short = (value: number): number => Number(value.toPrecision(4));

const plural = (count: number, noun: string) => `${count} ${noun}${count === 1 ? "" : "s"}`;

type Listeners = {
  readonly [E in keyof AggregatorEvents]?: (...args: AggregatorEvents[E]) => void;
};

/** Reads a filter from outside. */
export const filterOf = (text: string | null): ClientFilter =>
  CLIENT_FILTERS.find((filter) => filter === text) ?? "all";
