import { stateOf, type Client } from "../../clients/clients.js";
import { wordsOf } from "../../clients/troubles.js";
import { PAGE_ROWS, type ClientFilter, type ClientRow, type TableChange } from "./messages.js";
import type { RoundWork } from "./round-work.js";

/** A figure in four digits: a page shows no more. */
export const short = (value: number): number => Number(value.toPrecision(4));

/** The rows that a page has, as they were sent. */
export interface ShownTable {
  rows: Map<string, string>;
  order: string;
  total: number;
}

function isShown(client: Readonly<Client>, work: RoundWork, filter: ClientFilter): boolean {
  if (filter === "all") return true;
  if (filter !== "counted" && filter !== "missed") return stateOf(client) === filter;
  const outcome = work.of(client.id)?.outcome;
  return outcome !== undefined && (outcome === "counted") === (filter === "counted");
}

/** @param discreet what its data had a say in is kept back */
function rowOf(client: Readonly<Client>, work: RoundWork, discreet: boolean): ClientRow {
  const own = work.of(client.id);
  const { train } = client.troubles;
  return {
    id: client.id,
    standing: stateOf(client),
    note: client.lacks
      ? `lacks ${client.lacks}`
      : discreet
        ? undefined
        : train?.until
          ? wordsOf(train)
          : client.reason,
    samples: discreet ? null : client.samples,
    ...(own && {
      share: Math.round(own.share * 100) / 100,
      loss: own.loss === undefined ? undefined : short(own.loss),
      outcome: own.outcome,
    }),
  };
}

/** What has changed in the part of the table that a page shows; takes it as sent. */
export function tableChange(
  clients: Iterable<Readonly<Client>>,
  work: RoundWork,
  shown: ShownTable,
  { filter, from }: { readonly filter: ClientFilter; readonly from: number },
  discreet = false,
): TableChange | undefined {
  const rows: ClientRow[] = [];
  const have = new Map<string, string>();
  const ids: string[] = [];
  let total = 0;
  for (const client of clients) {
    if (!isShown(client, work, filter)) continue;
    if (total >= from && total < from + PAGE_ROWS) {
      const one = rowOf(client, work, discreet);
      const text = JSON.stringify(one);
      ids.push(client.id);
      have.set(client.id, text);
      if (shown.rows.get(client.id) !== text) rows.push(one);
    }
    total++;
  }
  const order = ids.join();
  const moved = order !== shown.order;
  if (!moved && rows.length === 0 && total === shown.total) return undefined;
  shown.rows = have;
  shown.order = order;
  shown.total = total;
  return { total, rows, ...(moved && { order: ids }) };
}
