import type { ClientMessageOf } from "../../runtime/protocol/client-messages.js";
import type { Roster } from "../rounds/engine.js";
import type { Work } from "../rounds/participants.js";
import type { Session } from "../sessions/session.js";
import type { Blob } from "../storage/ledger.js";
import { MOST_SAMPLES, sampleCap } from "./claims.js";
import { mayTryAgain, troubleAfter, type Trouble } from "./troubles.js";

/** The kinds of work. */
export const TASKS = ["train", "evaluate", "statistics"] as const;

/** A piece of work for one client, under the id that stands in every message about it. */
export interface Assignment {
  readonly id: string;
  readonly client: string;
  readonly task: (typeof TASKS)[number];
  /** Of a round; an evaluation belongs to the round that made its model. */
  readonly work: Work;
  /** Missing where the work was given before a restart: then it cannot be sent again. */
  model: Blob | undefined;
  readonly settings: Readonly<Record<string, unknown>>;
  /** When it is due, in the time of `performance.now()`. */
  due: number;
  /** Runs until then, where it has a time of its own. */
  lease: NodeJS.Timeout | undefined;
  /** The update that was offered for it. */
  offer: ClientMessageOf<"offer"> | undefined;
  /** The store was asked for permission to fold its update, and has not let it wait. */
  claimed: boolean;
  /** In the sum of the round that is open. */
  folded: boolean;
  /** How it ended without being counted: `late`, `abandoned`, or the code of its refusal. */
  ended: string | undefined;
}

/** Work that nobody has been given yet. */
export const newAssignment = (
  id: string,
  client: string,
  task: Assignment["task"],
  work: Work,
  model: Blob | undefined,
  settings: Assignment["settings"] = {},
): Assignment => ({
  ...{ id, client, task, work, model, settings },
  due: 0,
  lease: undefined,
  offer: undefined,
  claimed: false,
  folded: false,
  ended: undefined,
});

/** A client of the run: connected, away, or remembered by the ledger. */
export interface Client {
  readonly id: string;
  session: Session | undefined;
  /** n_k, if known, as `believed`. */
  samples: number | null;
  /** The forms of models that it reads. */
  reads: readonly string[];
  /** Kernels it computes with. */
  build: string | null;
  /** Counts in m. */
  registered: boolean;
  /** When its hello was last written into the journal, in the time of `performance.now()`. */
  registeredAt: number;
  /** When it was disconnected, in the time of `performance.now()`. */
  awaySince: number;
  /** What the run needs and the client does not have, in words. */
  lacks: string | undefined;
  /** Why its work of a kind came to nothing, since it last said `ready` or did better. */
  readonly troubles: Partial<Record<Assignment["task"], Trouble>>;
  /** Whether it can be drawn, as it last reported, also on an earlier connection. */
  ready: boolean;
  /** Why not, if it gave a reason. */
  reason: string | undefined;
  /** It has sent `ready` or `busy` on its present connection. */
  reported: boolean;
  /** Runs while the client is away or has not reported yet; at its end the client is given up. */
  absence: NodeJS.Timeout | undefined;
  /** Waiting to be sent, in order. */
  readonly tasks: Assignment[];
  /** The assignment it works on: sent, and not answered yet. */
  current: Assignment | undefined;
}

const newClient = (id: string): Client => ({
  id,
  session: undefined,
  samples: null,
  reads: [],
  build: null,
  registered: false,
  registeredAt: -Infinity,
  awaySince: performance.now(),
  lacks: undefined,
  troubles: {},
  ready: false,
  reason: undefined,
  reported: false,
  absence: undefined,
  tasks: [],
  current: undefined,
});

/** Finds a client by its id, or adds it. */
export const clientIn =
  (clients: Map<string, Client>) =>
  (id: string): Client => {
    let client = clients.get(id);
    if (client === undefined) clients.set(id, (client = newClient(id)));
    return client;
  };

/** The state of a client, in one word. */
export type ClientState = "ready" | "busy" | "training" | "evaluating" | "away" | "unfit";

export function stateOf(client: Client): ClientState {
  if (client.session === undefined) return "away";
  if (client.lacks !== undefined) return "unfit";
  if (client.current !== undefined)
    return client.current.task === "evaluate" ? "evaluating" : "training";
  if (isBarred(client, "train")) return "unfit";
  return client.ready ? "ready" : "busy";
}

/**
 * The samples that a client says it has, as they are taken from it.
 * @param most what the run's settings allow
 */
export const believed = (samples: number, most = MOST_SAMPLES): number => Math.min(samples, most);

/** Whether it would come to nothing again to ask the client for this kind of work. */
export const isBarred = ({ troubles }: Client, task: Assignment["task"]): boolean =>
  troubles[task]?.until !== undefined;

/** Remembers that work came to nothing; what is known of this trouble of the client now. */
export function addTrouble(
  { troubles }: Client,
  task: Assignment["task"],
  trouble: Pick<Trouble, "what" | "code" | "message">,
): Trouble {
  return (troubles[task] = troubleAfter(troubles[task], trouble));
}

/** Whether the client can be given work, now or as soon as its connection is back. */
const isFree = (client: Client, task: Assignment["task"] = "train"): boolean =>
  client.registered && client.ready && client.lacks === undefined && !isBarred(client, task);

/** The clients that can be asked for their evaluation. */
export const evaluators = (clients: Iterable<Client>): string[] =>
  [...clients]
    .filter((client) => isFree(client, "evaluate"))
    .map(({ id }) => id)
    .sort();

/** What decides who can be drawn, and for how much each of them counts. */
interface RosterRules {
  /** Fewest clients with which a round opens. */
  readonly minimum: number;
  /** Samples of a client that count; by the clients' median if not given. */
  readonly maxSamples?: number | undefined;
}

/**
 * The clients that can be drawn. Where they are too few for a round, those as well whose work might
 * end otherwise from the same model, by other chance.
 */
function drawable(
  clients: Iterable<Client>,
  { minimum }: RosterRules,
  task: Assignment["task"] = "train",
): Client[] {
  const all = [...clients];
  const free = all.filter((client) => isFree(client, task));
  if (free.length >= Math.max(1, minimum)) return free;
  const isReserve = ({ troubles, ...client }: Client) =>
    isFree({ ...client, troubles: {} }, task) && mayTryAgain(troubles[task]!);
  return all.filter((client) => isFree(client, task) || isReserve(client));
}

const countsOf = (clients: readonly Client[]): number[] =>
  clients.flatMap(({ samples }) => samples ?? []);

/** The most samples that one of these clients counts with, by those that can be drawn now. */
export const capOf = (clients: Iterable<Client>, rules: RosterRules): number =>
  sampleCap(countsOf(drawable(clients, rules)), rules.maxSamples);

/** Who can be drawn for a kind of work, and the figures that a round freezes. */
export function rosterOf(
  clients: Iterable<Client>,
  rules: RosterRules,
  task?: Assignment["task"],
): Roster {
  const registered = [...clients].filter((client) => client.registered);
  const drawn = drawable(registered, rules, task);
  const counts = countsOf(drawn);
  const cap = sampleCap(counts, rules.maxSamples);
  const sum = counts.reduce((total, count) => total + Math.min(count, cap), 0);
  const ids = (some: readonly Client[]) => some.map(({ id }) => id).sort();
  return {
    ids: ids(drawn),
    connected: ids(drawn.filter(({ reported }) => reported)),
    population: registered.length,
    barred: registered.filter((client) => isBarred(client, task ?? "train")).length,
    meanSamples: counts.length === 0 ? 0 : sum / counts.length,
  };
}

/** What a run needs of a client. */
export interface Needs {
  readonly algorithm: string;
  readonly layers: ReadonlySet<string>;
  readonly codec: string;
  /** Rounds are secure. */
  readonly secure: boolean;
}

/** The first thing the run needs that these capabilities do not name, in words. */
export function lackOf(
  { algorithm, layers, codec, secure }: Needs,
  capabilities: ClientMessageOf<"hello">["capabilities"],
): string | undefined {
  // `fedsam+fedadam` is FedSAM to the client.
  if (!capabilities.algorithms.includes(algorithm.split("+")[0]))
    return `the algorithm ${algorithm}`;
  if (secure && !capabilities.secure) return "secure aggregation";
  if (!capabilities.codecs.includes(codec)) return `the codec ${codec}`;
  for (const layer of layers) if (!capabilities.layers.includes(layer)) return `the layer ${layer}`;
  return undefined;
}
