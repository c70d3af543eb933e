import { byId, element, setText } from "./dom.js";
import { plain, wholePercent } from "./format.js";
import {
  PAGE_ROWS,
  type ClientCounts,
  type ClientFilter,
  type ClientRow,
  type TableChange,
} from "../messages.js";

const FILTERS: readonly (readonly [ClientFilter, string])[] = [
  ["all", "All"],
  ["ready", "Ready"],
  ["training", "Training"],
  ["evaluating", "Evaluating"],
  ["busy", "Busy"],
  ["away", "Away"],
  ["unfit", "Unfit"],
  ["counted", "Counted"],
  ["missed", "Missed"],
];

const MEANINGS: Partial<Record<ClientFilter, string>> = {
  busy: "Connected, but they say that they cannot train now",
  away: "Without a connection to the aggregator",
  unfit: "They cannot train in this run: each says why",
  counted: "Their update is in the round that is open, or was in the last one",
  missed: "Asked in this round, and late, gone, declined or refused",
};

/** Why a client's work is not in a round, in words. */
const OUTCOMES: Readonly<Record<string, string>> = {
  counted: "counted",
  late: "late",
  left: "gone",
  bye: "left",
  revoked: "key revoked",
  hash: "refused: hash",
  layout: "refused: layout",
  norm: "refused: norm",
  range: "refused: range",
  "not-finite": "refused: not finite",
};

/** The clients: how many are at what, and some of them row by row. */
interface ClientTable {
  readonly filter: ClientFilter;
  readonly from: number;
  count(counts: ClientCounts): void;
  change(change: TableChange): void;
  /** Forgets all rows: a stream begins again. */
  clear(): void;
}

/** @param look told when other rows are wanted */
export function openClients(look: () => void): ClientTable {
  const body = byId("rows");
  const [newer, older] = [byId<HTMLButtonElement>("newer"), byId<HTMLButtonElement>("older")];
  const rows = new Map<string, HTMLTableRowElement>();
  let filter: ClientFilter = "all";
  let from = 0;
  let total = 0;

  const chips = FILTERS.map(([name, label]) => {
    const count = element("span", "number", "0");
    const chip = element("button", `chip ${name}`, label, " ", count);
    chip.type = "button";
    chip.title = MEANINGS[name] ?? "";
    chip.setAttribute("aria-pressed", String(name === filter));
    chip.addEventListener("click", () => show(name, 0));
    return { name, chip, count };
  });
  byId("filters").append(...chips.map(({ chip }) => chip));
  newer.addEventListener("click", () => show(filter, from - PAGE_ROWS));
  older.addEventListener("click", () => show(filter, from + PAGE_ROWS));

  function show(next: ClientFilter, first: number): void {
    filter = next;
    from = Math.max(0, first);
    for (const { name, chip } of chips) chip.setAttribute("aria-pressed", String(name === filter));
    look();
  }

  function describe(): void {
    const none = byId("no-rows");
    none.hidden = total > 0;
    setText(none, filter === "all" ? "No client has joined yet." : "None at the moment.");
    byId("paging").hidden = total <= PAGE_ROWS && from === 0;
    setText(
      byId("span"),
      `${Math.min(from + 1, total)}–${Math.min(from + PAGE_ROWS, total)} of ${total}`,
    );
    newer.disabled = from === 0;
    older.disabled = from + PAGE_ROWS >= total;
  }

  return {
    get filter() {
      return filter;
    },
    get from() {
      return from;
    },
    count(counts) {
      for (const { name, chip, count } of chips) {
        setText(count, String(counts[name]));
        chip.classList.toggle("none", counts[name] === 0);
      }
    },
    change({ total: all, order, rows: changed }) {
      total = all;
      for (const row of changed) {
        let own = rows.get(row.id);
        if (own === undefined) rows.set(row.id, (own = element("tr")));
        fill(own, row);
      }
      if (order !== undefined) {
        body.replaceChildren(...order.flatMap((id) => rows.get(id) ?? []));
        const kept = new Set(order);
        for (const id of rows.keys()) if (!kept.has(id)) rows.delete(id);
      }
      describe();
    },
    clear() {
      rows.clear();
      body.replaceChildren();
    },
  };
}

function fill(target: HTMLTableRowElement, row: ClientRow): void {
  const id = element("td", "id", row.id.slice(0, 12));
  id.title = row.id;
  const state = element("td", "", element("span", `state ${row.standing}`, row.standing));
  if (row.note) state.append(element("span", "note", row.note));
  target.replaceChildren(
    id,
    state,
    element("td", "work", workOf(row)),
    element("td", "right number wide", row.loss === undefined ? "" : plain(row.loss)),
    element("td", "right number wide", row.samples === null ? "" : row.samples.toLocaleString()),
  );
}

function workOf({ share, outcome, standing }: ClientRow): Node | string {
  if (outcome !== undefined) {
    const good = outcome === "counted";
    return element(
      "span",
      `outcome ${good ? "good" : "bad"}`,
      `${good ? "✓" : "✕"} ${OUTCOMES[outcome] ?? outcome.replace("-", ": ")}`,
    );
  }
  if (share === undefined) return "";
  if (standing !== "training" && share === 0) return "asked";
  if (share >= 1) return "sending";
  const track = element("span", "track small");
  const fill = element("i", "counted");
  fill.style.width = `${100 * share}%`;
  track.append(fill);
  return element("span", "progress", track, element("span", "number", wholePercent(share)));
}
