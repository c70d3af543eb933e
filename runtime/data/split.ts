import { ConfigError, DataError } from "../errors.js";
import { random, type Random } from "../tensors/random.js";
import type { Dataset } from "./dataset.js";

/** How a data set is dealt to clients. */
export type Split =
  | { readonly kind: "iid" }
  | { readonly kind: "dirichlet"; readonly delta: number }
  | { readonly kind: "shards"; readonly perClient: number }
  | { readonly kind: "groups" };

/** Reads `iid`, `dirichlet:0.3`, `shards:2` or `groups`. @throws ConfigError `split` */
export function parseSplit(text: string): Split {
  const [kind, argument, ...rest] = text.split(":");
  const number = argument === undefined || argument === "" ? NaN : Number(argument);
  if (rest.length === 0) {
    if ((kind === "iid" || kind === "groups") && argument === undefined) return { kind };
    if (kind === "dirichlet" && number > 0 && number < Infinity) return { kind, delta: number };
    if (kind === "shards" && Number.isInteger(number) && number > 0)
      return { kind, perClient: number };
  }
  throw new ConfigError(
    "split",
    `"split" expected iid, dirichlet:DELTA (above 0), shards:PER_CLIENT or groups, got ${JSON.stringify(text)}`,
  );
}

/**
 * The rows of each client. No row is given twice; the same seed gives the same split; a client's rows come in random order
 * (with `groups` in the data's order; windows of series in stretches). Except with `groups` all rows are dealt and sizes differ by at most one.
 * @param clients number of clients; with `groups` it may be left out, there being one client per group in ascending order
 * @throws ConfigError `clients`, DataError `count` (fewer rows than clients or shards), `group` (the data has none),
 * `split` (one by classes, which the data has not)
 */
export function splitRows(
  dataset: Dataset,
  how: Split,
  clients: number | undefined,
  seed: string | number,
): Uint32Array[] {
  if (how.kind === "groups") return byGroup(dataset, clients);
  if (clients === undefined || !(Number.isInteger(clients) && clients > 0))
    throw new ConfigError("clients", `"clients" expected a whole number above 0, got ${clients}`);
  if (how.kind !== "iid" && dataset.classes.length === 0)
    throw new DataError(
      "split",
      `"split" expected iid or groups for data without classes, got ${how.kind}`,
    );
  const chance = random(seed, "split", how.kind);
  const pieces = how.kind === "shards" ? clients * how.perClient : clients;
  if (dataset.labels.length < pieces)
    throw new DataError(
      "count",
      `"split" expected at least ${pieces} examples for ${clients} clients, got ${dataset.labels.length}`,
    );
  if (how.kind === "iid" && dataset.windows !== undefined) return stretches(dataset, clients);
  if (how.kind === "iid") return deal(shuffled(dataset, chance), clients);
  return how.kind === "shards"
    ? shards(dataset, clients, how.perClient, chance)
    : dirichlet(dataset, clients, how.delta, chance);
}

/**
 * Non-IID clients of equal size (Hsu et al. 2019, arXiv:1909.06335, in the form of Acar et al.
 * 2021): every client has a class prior ~ Dir(delta); again and again a random client that is not
 * full draws a class from its prior and takes one unused sample of it. A class that is used up is
 * drawn no more: the prior is renormalised over those that are left.
 */
function dirichlet(
  dataset: Dataset,
  clients: number,
  delta: number,
  chance: Random,
): Uint32Array[] {
  const classes = dataset.classes.length;
  const unused: number[][] = Array.from({ length: classes }, () => []);
  for (const row of shuffled(dataset, chance)) unused[dataset.labels[row]].push(row);

  const priors = Array.from({ length: clients }, () => {
    const prior = Float64Array.from({ length: classes }, () => chance.gamma(delta));
    // With a tiny delta every gamma may underflow; Dir(delta) then tends to a single class.
    if (prior.every((mass) => mass === 0)) prior[chance.integer(classes)] = 1;
    return prior;
  });
  const sizes = sizesOf(dataset.labels.length, clients);
  const parts = sizes.map((size) => new Uint32Array(size));
  const filled = new Uint32Array(clients);
  const open = Array.from({ length: clients }, (_, client) => client);
  while (open.length > 0) {
    const place = chance.integer(open.length);
    const client = open[place];
    const label = drawClass(priors[client], unused, chance);
    parts[client][filled[client]++] = unused[label].pop()!;
    if (filled[client] === sizes[client]) {
      open[place] = open[open.length - 1];
      open.pop();
    }
  }
  return parts;
}

/**
 * A class from the prior among those with unused samples; where the prior has no mass left, by how
 * many are unused.
 */
function drawClass(
  prior: Float64Array,
  unused: readonly (readonly number[])[],
  chance: Random,
): number {
  const draw = (mass: (label: number) => number): number => {
    let total = 0;
    for (let label = 0; label < prior.length; label++)
      if (unused[label].length > 0) total += mass(label);
    let left = chance.next() * total;
    let last = -1;
    for (let label = 0; label < prior.length && total > 0; label++) {
      if (unused[label].length === 0 || mass(label) === 0) continue;
      last = label;
      left -= mass(label);
      if (left < 0) break;
    }
    return last;
  };
  const label = draw((l) => prior[l]);
  return label >= 0 ? label : draw((l) => unused[l].length);
}

/**
 * Label shards (McMahan et al. 2017, arXiv:1602.05629): rows sorted by label, cut into equal
 * shards, some per client.
 */
function shards(
  dataset: Dataset,
  clients: number,
  perClient: number,
  chance: Random,
): Uint32Array[] {
  const { labels } = dataset;
  const rows = shuffled(dataset, chance);
  const sorted = Uint32Array.from(Array.from(rows).sort((a, b) => labels[a] - labels[b]));
  const pieces = deal(sorted, clients * perClient);
  const order = chance.shuffle(Uint32Array.from(pieces.keys()));
  return Array.from({ length: clients }, (_, client) => {
    const mine = Array.from({ length: perClient }, (_, i) =>
      Array.from(pieces[order[client * perClient + i]]),
    );
    return chance.shuffle(Uint32Array.from(mine.flat()));
  });
}

/** Consecutive windows for each client; those that reach back into the stretch before are left out. */
function stretches({ labels, starts = new Uint32Array(), windows }: Dataset, clients: number) {
  const { span = 0, series = starts } = windows ?? {};
  let before: number | undefined;
  return deal(Uint32Array.from(labels.keys()), clients).map((rows) => {
    const end = before;
    before = rows.at(-1);
    if (end === undefined) return rows;
    return rows.filter((row) => series[row] !== series[end] || starts[row] >= starts[end] + span);
  });
}

function byGroup(dataset: Dataset, clients?: number): Uint32Array[] {
  const { groups } = dataset;
  if (!groups)
    throw new DataError(
      "group",
      `"split" groups expected data with a group (person, device) per example, got data without`,
    );
  const rows = new Map<number, number[]>();
  groups.forEach((group, row) => {
    const known = rows.get(group);
    if (known) known.push(row);
    else rows.set(group, [row]);
  });
  if (clients !== undefined && clients !== rows.size)
    throw new ConfigError(
      "clients",
      `"clients" expected ${rows.size}, one per group of the data, got ${clients}`,
    );
  return [...rows].sort(([a], [b]) => a - b).map(([, mine]) => Uint32Array.from(mine));
}

function shuffled(dataset: Dataset, chance: Random): Uint32Array {
  return chance.shuffle(Uint32Array.from({ length: dataset.labels.length }, (_, row) => row));
}

/** Cuts rows into consecutive pieces whose sizes differ by at most one. */
function deal(rows: Uint32Array, pieces: number): Uint32Array[] {
  let at = 0;
  return sizesOf(rows.length, pieces).map((size) => rows.slice(at, (at += size)));
}

function sizesOf(rows: number, pieces: number): number[] {
  return Array.from(
    { length: pieces },
    (_, i) => Math.floor(rows / pieces) + (i < rows % pieces ? 1 : 0),
  );
}

/** How many samples of each class every client has. */
export function classCounts(dataset: Dataset, parts: readonly Uint32Array[]): Uint32Array[] {
  return parts.map((rows) => {
    const counts = new Uint32Array(dataset.classes.length);
    for (const row of rows) counts[dataset.labels[row]]++;
    return counts;
  });
}

/**
 * The split as a table for people: a client's samples, and its classes from the most frequent down.
 */
export function splitTable(dataset: Dataset, parts: readonly Uint32Array[]): string {
  const lines = classCounts(dataset, parts).map((counts, client) => {
    const present = [...counts.keys()]
      .filter((label) => counts[label] > 0)
      .sort((a, b) => counts[b] - counts[a]);
    const named = present
      .slice(0, 4)
      .map((label) => `${dataset.classes[label]} ${counts[label]}`)
      .join(", ");
    const more = present.length > 4 ? `, ${present.length - 4} more` : "";
    return [client, parts[client].length, present.length, named + more];
  });
  return [["client", "samples", "classes", "most frequent"], ...lines]
    .map(([client, samples, classes, named]) =>
      `${String(client).padStart(6)}  ${String(samples).padStart(7)}  ${String(classes).padStart(7)}  ${named}`.trimEnd(),
    )
    .join("\n");
}
