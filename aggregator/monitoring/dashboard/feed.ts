import { randomBytes } from "node:crypto";
import { headlineOf, METRICS } from "../../../runtime/models/metrics/built-in.js";
import { channelName, isConstant, targetName } from "../../clients/statistics.js";
import { thresholdInWords } from "../../clients/threshold.js";
import { networkOf } from "../../../runtime/models/network.js";
import { figureOf } from "../round-figures.js";
import type { Aggregator } from "../../run/aggregator.js";
import type { AggregatorEvents } from "../../run/options.js";
import type { StatisticsRecord } from "../../storage/ledger.js";
import type { Traffic } from "../metrics.js";
import { openChronicle, type Chronicle } from "./chronicle.js";
import { short, tableChange, type ShownTable } from "./client-table.js";
import { listenersOf, plural } from "./listeners.js";
import {
  CLIENT_FILTERS,
  type ClientCounts,
  type ClientFilter,
  type InputRow,
  type LogEntry,
  type Now,
  type PageUpdate,
  type Role,
  type RunCard,
} from "./messages.js";
import { pastRounds } from "./round-points.js";
import { openRoundWork, type RoundWork } from "./round-work.js";

/** Milliseconds between two updates of a page. */
const PACE = 300;
const AFTERWARDS = 1000;
/**
 * Without news a comment is sent after this many milliseconds, for proxies that cut idle
 * connections.
 */
const KEEP_ALIVE = 15_000;

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
  /** More waits to be sent than a page that reads would leave. */
  readonly clogged: boolean;
  end(): void;
}

/**
 * What is sent to pages: everything once, then what has changed, a few times a second at most and
 * only while a page is open. Between pages the feed keeps the figures of the rounds and the log;
 * the clients are the aggregator's own.
 */
interface Feed {
  /** Follows the run until the function that is given back is called. */
  follow(look: Look, sink: Sink): () => void;
  /** Pages that are open. */
  readonly viewers: number;
  /** Adds what no event tells to the log. */
  note(level: LogEntry["level"], text: string): void;
  close(): void;
}

interface Viewer {
  readonly look: Look;
  readonly sink: Sink;
  readonly table: ShownTable;
}

export function openFeed(aggregator: Aggregator, traffic: Traffic, hasAdmin: boolean): Feed {
  const id = randomBytes(8).toString("hex");
  const viewers = new Set<Viewer>();
  const chronicle = openChronicle(wake);
  const work = openRoundWork();
  let sent = 0;
  let before = { now: "", counts: "", learned: "" };
  let timer: NodeJS.Timeout | undefined;
  /** When that timer fires, in the time of `performance.now()`. */
  let due = Infinity;
  let past: Promise<void> | undefined;

  const { channelNames } = aggregator;
  const listeners = listenersOf(chronicle, work, { traffic, channelNames, wake });
  for (const [event, listener] of Object.entries(listeners))
    aggregator.on(event as keyof AggregatorEvents, listener);

  const now = () => nowOf(aggregator, work);
  const counts = () => countsOf(aggregator, work);
  const tableFor = ({ look, table }: Viewer) =>
    tableChange(aggregator.clients(), work, table, look, aggregator.isDiscreet);

  /** Something has changed: sends it soon, if a page is open. */
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
    const learned = learnedOf(aggregator);
    const learnedText = JSON.stringify(learned);
    const update: PageUpdate = {
      ...(nowText !== before.now && { now: situation }),
      ...(countsText !== before.counts && { clients }),
      ...(learnedText !== before.learned && learned),
      ...(sent !== chronicle.revision && {
        ...chronicle.since(sent),
        revision: chronicle.revision,
      }),
    };
    before = { now: nowText, counts: countsText, learned: learnedText };
    sent = chronicle.revision;
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
    // Not everything that changes a client's state is an event: check once more after the events.
    if (changed && viewers.size > 0) tellIn(AFTERWARDS);
  }

  const keepAlive = setInterval(() => {
    for (const { sink } of viewers) sink.write(":\n\n");
  }, KEEP_ALIVE);
  keepAlive.unref();

  return {
    get viewers() {
      return viewers.size;
    },
    note: (level, text) => chronicle.enter(level, text),
    follow(look, sink) {
      const viewer: Viewer = { look, sink, table: { rows: new Map(), order: "", total: -1 } };
      let gone = false;
      past ??= readPast(aggregator, chronicle).catch((error: unknown) =>
        aggregator.log.warn({ err: error }, "the run's folder cannot be read for the page"),
      );
      void past.then(() => {
        if (gone) return;
        // The other pages get their news now too, so that one revision holds for all.
        clearTimeout(timer);
        tell();
        sink.write(
          eventOf({
            run: cardOf(aggregator, id, look.role, hasAdmin),
            now: now(),
            clients: counts(),
            ...learnedOf(aggregator),
            ...chronicle.since(look.feed === id ? look.since : 0),
            table: tableFor(viewer),
            revision: chronicle.revision,
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
      // What is about to be told is the last that a page learns.
      if (due < Infinity) tell();
      clearTimeout(timer);
      clearInterval(keepAlive);
      for (const { sink } of viewers) sink.end();
      for (const [event, listener] of Object.entries(listeners))
        aggregator.off(event as keyof AggregatorEvents, listener);
    },
  };
}

/** An update as the stream of events has it. */
const eventOf = (update: PageUpdate) => `data: ${JSON.stringify(update)}\n\n`;

/** The rounds of the time before this process, read when the first page asks. */
async function readPast({ folder, committed }: Aggregator, chronicle: Chronicle): Promise<void> {
  if (folder !== undefined) chronicle.prepend(await pastRounds(folder, committed));
}

function nowOf(aggregator: Aggregator, work: RoundWork): Now {
  const { waitsFor, ...situation } = aggregator.situation();
  return {
    ...situation,
    sentence: waitsFor,
    trained: short(work.trained()),
    // Epsilon grows with each round.
    ...(aggregator.privacy && { bears: aggregator.bears }),
  };
}

function countsOf(aggregator: Aggregator, work: RoundWork): ClientCounts {
  const { clients } = aggregator.load();
  let all = 0;
  for (const count of Object.values(clients)) all += count;
  return { all, ...clients, ...work.counts() };
}

/** What inputs are normalised by, and behind them targets. */
function inputsOf({ statistics, channelNames }: Aggregator): InputRow[] {
  if (statistics === undefined) return [];
  const rowsOf = (
    { mean, deviation }: Pick<StatisticsRecord, "mean" | "deviation">,
    nameOf: (i: number) => string,
  ): InputRow[] =>
    mean.map((one, i) => ({
      name: nameOf(i),
      mean: one,
      deviation: deviation[i],
      constant: isConstant(one, deviation[i]),
    }));
  return [
    ...rowsOf(statistics, (channel) => channelName(channel, channelNames)),
    ...(statistics.targets ? rowsOf(statistics.targets, targetName) : []),
  ];
}

/** What clients have said of their data, beside how to train. */
const learnedOf = (aggregator: Aggregator): Pick<PageUpdate, "inputs" | "threshold"> => ({
  inputs: inputsOf(aggregator),
  threshold: aggregator.threshold === undefined ? "" : thresholdInWords(aggregator.threshold),
});

/** What a page shows of the run itself. */
function cardOf(aggregator: Aggregator, feed: string, role: Role, hasAdmin: boolean): RunCard {
  const { settings, description } = aggregator;
  const { layers, loss } = networkOf(description);
  const headline = headlineOf(loss.task);
  const { title, unit } = METRICS[headline];
  const shape = description.input.join(" × ");
  return {
    run: aggregator.run,
    feed,
    model: `${plural(layers.length, "layer")} on ${shape}`,
    algorithm: settings.algorithm,
    zeta: settings.zeta,
    rounds: settings.rounds,
    bears: aggregator.bears,
    layers: [
      ...layers.flatMap(({ tap }) => (tap === undefined ? [] : [tap.name.replace(".", " ")])),
      ...(settings.manIncludesLogits ? ["logits"] : []),
    ],
    metric: {
      ...{ title, unit },
      test: figureOf("test", headline),
      client: figureOf("client", headline),
    },
    role,
    hasAdmin,
  };
}

/** Reads a filter from outside. */
export const filterOf = (text: string | null): ClientFilter =>
  CLIENT_FILTERS.find((filter) => filter === text) ?? "all";
