import { stateOf, type Assignment, type Client } from "../clients/clients.js";
import { wordsOf } from "../clients/troubles.js";
import type { Models } from "../storage/model-cache.js";
import type { Rounds } from "../rounds/engine.js";
import type { Load, Situation, Status } from "./options.js";
import type { RunContext } from "./context.js";
import type { AggregatorSettings } from "../settings.js";

// What the live page, `/status`, `/metrics` and the command line read.

export function statusOf(
  run: string,
  { rounds }: AggregatorSettings,
  bears: string,
  engine: Pick<Rounds, "waitsFor">,
  models: Models,
  clients: Iterable<Client>,
  { account, definition }: Pick<RunContext, "account" | "definition">,
  statistics: Status["statistics"],
): Status {
  return {
    run,
    committed: models.round,
    rounds,
    waitsFor: engine.waitsFor(),
    bears,
    model: models.current.sha256,
    ...(account && { privacy: account.spent }),
    ...(statistics && { statistics }),
    clients: [...clients]
      .sort((a, b) => (a.id < b.id ? -1 : 1))
      .map((client) => ({
        id: client.id,
        connected: client.session !== undefined,
        state: inWords(client, definition.privacy?.discreet === true),
        samples: definition.privacy?.discreet ? null : client.samples,
      })),
  };
}

/** States in which the deadline is one of clients'. */
const CLIENTS_AT_WORK = new Set(["collecting", "securing", "buffering"]);

/** @param due when the deadline of the rounds passes, in the time of `performance.now()` */
export function situationOf(rounds: Rounds, committed: number, due: number): Situation {
  const at = rounds.at ?? "";
  const left = due - performance.now();
  return {
    waitsFor: rounds.waitsFor(),
    at,
    committed,
    ...rounds.progress(),
    left: CLIENTS_AT_WORK.has(at) ? Math.max(0, Math.round(left)) : undefined,
    held: rounds.held,
    draining: rounds.draining,
  };
}

export function loadOf(
  clients: Iterable<Client>,
  connections: number,
  bytesInFlight: number,
): Load {
  const counts = {
    ready: 0,
    busy: 0,
    training: 0,
    evaluating: 0,
    away: 0,
    unfit: 0,
  };
  for (const client of clients) counts[stateOf(client)]++;
  return { clients: counts, connections, bytesInFlight };
}

const DOES: Readonly<Record<Assignment["task"], string>> = {
  train: "works on",
  evaluate: "evaluates",
  statistics: "measures its inputs before",
};

function inWords(client: Client, discreet: boolean): string {
  if (client.lacks !== undefined) return `lacks ${client.lacks}`;
  if (client.current !== undefined)
    return `${DOES[client.current.task]} round ${client.current.work.round}`;
  const { train } = client.troubles;
  if (train?.until !== undefined)
    return discreet ? "cannot train" : `cannot train: ${wordsOf(train)}`;
  if (client.session === undefined) return "away";
  return client.ready ? "ready" : `busy${client.reason && !discreet ? `: ${client.reason}` : ""}`;
}
