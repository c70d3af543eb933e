import {
  collectDefaultMetrics,
  Counter,
  exponentialBuckets,
  Gauge,
  Histogram,
  Registry,
} from "prom-client";
import type { Metrics, Traffic } from "../aggregator/monitoring/metrics.js";
import {
  ALL_FIGURES,
  type Family,
  type RoundSources,
} from "../aggregator/monitoring/round-figures.js";
import type { Aggregator } from "../aggregator/run/aggregator.js";
import type { AggregatorEvents } from "../aggregator/run/options.js";

/**
 * Reasons that have a series of their own; a client can name others, and a label must not grow by
 * what clients say.
 */
const REASONS = new Set(
  [
    "late stale left bye unknown-assignment conflict bytes layout hash not-finite range norm samples busy",
    ..."busy task algorithm codec layer settings model-bytes memory seconds data other"
      .split(" ")
      .map((code) => `declined-${code}`),
    ..."model data diverged trap memory seconds stopped other"
      .split(" ")
      .map((code) => `failed-${code}`),
  ].flatMap((codes) => codes.split(" ")),
);
const reason = (code: string) => (REASONS.has(code) ? code : "other");

/** Seconds: a fold of a small model to a round that takes a night. */
const SECONDS = exponentialBuckets(0.0005, 4, 14);
const NORMS = exponentialBuckets(0.001, 3.1623, 14);

/** Makes counters, histograms and gauges of one registry. */
function instruments(registry: Registry) {
  const registers = [registry];
  return {
    histogram: (name: string, help: string, labelNames: string[] = [], buckets = SECONDS) =>
      new Histogram({ name, help, labelNames, buckets, registers }),
    counter: (name: string, help: string, labelNames: string[] = []) =>
      new Counter({ name, help, labelNames, registers }),
    gauge: (name: string, help: string, labelNames: string[] = []) =>
      new Gauge({ name, help, labelNames, registers }),
    /** A gauge that is read when somebody asks. */
    read: (name: string, help: string, of: () => number) =>
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(of());
        },
      }),
  };
}

type Instruments = ReturnType<typeof instruments>;

/** The figures of rounds, by the table that names them; observe them as they come. */
function roundInstruments({ histogram, gauge }: Instruments): (sources: RoundSources) => void {
  const families = new Map<Family, Histogram | Gauge>();
  for (const { unit, series } of ALL_FIGURES)
    if (series !== undefined && !families.has(series.family)) {
      const { name, help } = series.family;
      const make = unit === "seconds" ? histogram : gauge;
      families.set(series.family, make(name, help, Object.keys(series.labels)));
    }
  return (sources) => {
    for (const { series, of } of ALL_FIGURES) {
      const value = of(sources);
      if (series === undefined || typeof value !== "number") continue;
      const family = families.get(series.family);
      if (family instanceof Histogram) family.observe(series.labels, value);
      else family?.set(series.labels, value);
    }
  };
}

/** What a run tells, counted. */
function listenersOf(
  { histogram, counter }: Instruments,
  observe: (sources: RoundSources) => void,
): Listeners {
  const outcomes = counter("fedflat_rounds_total", "Attempts at rounds by outcome", ["outcome"]);
  const updates = counter(
    "fedflat_updates_total",
    "Work given to clients by what became of it: counted, refused or missed, and why",
    ["result", "code"],
  );
  const updateBytes = counter(
    "fedflat_update_bytes_total",
    "Bytes of the updates that were folded",
  );
  const clippedUpdates = counter(
    "fedflat_updates_clipped_total",
    "Updates that were scaled down to the norm allowed before they were folded",
  );
  const fold = histogram("fedflat_fold_seconds", "Folding one update");
  const norm = histogram(
    "fedflat_update_norm",
    "Euclidean norm of the deltas that were folded, before a clip",
    [],
    NORMS,
  );
  const staleness = histogram(
    "fedflat_update_staleness",
    "Rounds committed since the model that a counted update was trained from",
    [],
    [0, 1, 2, 3, 5, 10, 20, 50],
  );
  const training = histogram(
    "fedflat_client_training_seconds",
    "Local training, as clients report it",
  );
  return {
    counted(update) {
      updates.inc({ result: "counted", code: "" });
      updateBytes.inc(update.bytes);
      if (update.clipped) clippedUpdates.inc();
      fold.observe(update.foldSeconds);
      if (update.norm !== undefined) norm.observe(update.norm);
      staleness.observe(update.staleness);
      if (update.trainSeconds !== undefined) training.observe(update.trainSeconds);
    },
    refused: ({ code }) => updates.inc({ result: "refused", code: reason(code) }),
    missed: ({ code }) => updates.inc({ result: "missed", code: reason(code) }),
    abandoned: ({ phase }) => phase ?? outcomes.inc({ outcome: "abandoned" }),
    round(record, timings) {
      outcomes.inc({ outcome: "committed" });
      observe({ rounds: record, timings });
    },
    evaluation: (record) => observe({ evaluations: record }),
  };
}

/**
 * What Prometheus is told of an aggregator, beside the figures of the process itself (memory, CPU,
 * event-loop lag). It listens to the aggregator's events and keeps sums, so that its size does not
 * depend on how many clients there are: no label names a client.
 */
export function openMetrics(aggregator: Aggregator): Metrics {
  const registry = new Registry();
  const registers = [registry];
  let frames: Readonly<Traffic> = { received: 0, sent: 0 };
  collectDefaultMetrics({ register: registry });
  const make = instruments(registry);
  const listeners = listenersOf(make, roundInstruments(make));
  for (const [event, listener] of Object.entries(listeners))
    aggregator.on(event as keyof AggregatorEvents, listener);
  const ended = make.counter(
    "fedflat_lines_ended_total",
    "Connections that the aggregator refused or ended, and why",
    ["why"],
  );
  make.read("fedflat_round", "Rounds committed", () => aggregator.committed);
  make.read("fedflat_lines", "Connections", () => aggregator.load().connections);
  make.read(
    "fedflat_bytes_in_flight",
    "Memory taken by updates on their way in",
    () => aggregator.load().bytesInFlight,
  );
  new Gauge({
    name: "fedflat_clients",
    help: "Clients of the run by state",
    labelNames: ["state"],
    registers,
    collect() {
      for (const [state, count] of Object.entries(aggregator.load().clients))
        this.set({ state }, count);
    },
  });
  new Counter({
    name: "fedflat_frame_bytes_total",
    help: "Bytes of frames by direction, seen from the aggregator",
    labelNames: ["direction"],
    registers,
    collect() {
      this.reset();
      this.inc({ direction: "received" }, frames.received);
      this.inc({ direction: "sent" }, frames.sent);
    },
  });
  return {
    ended: (why) => ended.inc({ why }),
    contentType: registry.contentType,
    text(traffic) {
      frames = traffic;
      return registry.metrics();
    },
  };
}

type Listeners = {
  readonly [E in keyof AggregatorEvents]?: (...args: AggregatorEvents[E]) => void;
};
