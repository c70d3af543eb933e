import { createHmac } from "node:crypto";
import type { OutgoingServerMessage } from "../../runtime/protocol/server-messages.js";
import type { Assignment, Client } from "./clients.js";
import { endingInWords, type Refusal } from "../aggregation/validation.js";
import { sameWork, type Work } from "../rounds/participants.js";
import type { CodecChoice } from "../../runtime/training/transmission.js";
import type { Blob } from "../storage/ledger.js";
import type { ModelDifference, Models } from "../storage/model-cache.js";

/**
 * The work given to clients: what each client is working on, what waits to be sent, and how each
 * piece ends.
 */
export interface Assignments {
  /**
   * Gives a client work, in place of the same work given before: sent now, or when the client can
   * take it.
   */
  give(assignment: Assignment): void;
  /** Sends the client its next work if it can take it now. */
  flush(client: Client): void;
  get(id: string): Assignment | undefined;
  /** This client's assignment of that id. */
  own(client: Client, id: string): Assignment | undefined;
  /** What was given out for this attempt at a round. */
  of(work: Work): readonly Assignment[];
  /** The work of this client that may still be counted. */
  openOf(client: string): readonly Assignment[];
  /** The model that some open piece of work starts from. */
  model(sha256: string): Uint8Array | undefined;
  /** The work is answered: the client is free for its next one. */
  free(assignment: Assignment): void;
  /**
   * Marks it as what the client is working on although this process did not send it: given before a
   * restart.
   */
  markCurrent(assignment: Assignment): void;
  /** Ends it without counting it, and tells a client that knows of it. */
  end(assignment: Assignment, code: string): void;
  refuse(client: Client, id: string, refusal: Refusal): void;
  /**
   * A client has reconnected with this pending work: what it does not have is sent again. Returns
   * the work that it has lost, where that cannot be sent again.
   */
  reconcile(client: Client, pending: ReadonlySet<string>): Assignment | undefined;
  /** Drops the queue of a client that was given up. */
  withdraw(client: Client): void;
  /** Forgets a piece of work that nobody will ask for again. */
  forget(assignment: Assignment): void;
  /**
   * Forgets all work for rounds before this one; what may still be counted only before the round
   * `open`.
   */
  forgetBefore(round: number, open: number): void;
  /** Clears all timers. */
  close(): void;
}

interface AssignmentOptions {
  /** The codec in which updates are sent. */
  readonly codec: CodecChoice;
  readonly differencesTo: Models["differencesTo"];
  readonly clientOf: (id: string) => Client;
  /** An assignment has ended: its update can be released. */
  readonly release: (id: string) => void;
  readonly refused: (client: Client, id: string, refusal: Refusal) => void;
}

export function openAssignments(options: AssignmentOptions): Assignments {
  const { codec, differencesTo, clientOf, release, refused } = options;
  const all = new Map<string, Assignment>();

  function flush(client: Client): void {
    if (!client.session || !client.reported || !client.ready || client.current) return;
    const assignment = client.tasks.shift();
    if (assignment === undefined) return;
    client.current = assignment;
    const differences = client.reads.includes("int8")
      ? differencesTo(assignment.model!.sha256)
      : [];
    client.session.send(assignMessage(assignment, codec, differences));
  }

  function free(assignment: Assignment): void {
    const client = clientOf(assignment.client);
    unqueue(client, assignment);
    if (client.current?.id === assignment.id) client.current = undefined;
    clearTimeout(assignment.lease);
    flush(client);
  }

  function refuse(client: Client, id: string, refusal: Refusal): void {
    const { code, message } = refusal;
    refused(client, id, refusal);
    client.session?.send({
      type: "refused",
      assignment: id,
      code,
      message: message.slice(0, 1024),
    });
  }

  return {
    flush,
    free,
    refuse,

    get: (id) => all.get(id),

    give(assignment) {
      const { id } = assignment;
      const client = clientOf(assignment.client);
      all.set(id, assignment);
      if (client.current?.id === id) client.current = assignment;
      else if (assignment.model !== undefined) {
        const at = client.tasks.findIndex((task) => task.id === id);
        if (at >= 0) client.tasks[at] = assignment;
        else client.tasks.push(assignment);
        flush(client);
      }
    },

    own(client, id) {
      const assignment = all.get(id);
      return assignment?.client === client.id ? assignment : undefined;
    },

    of: (work) =>
      [...all.values()].filter((given) => given.task !== "evaluate" && sameWork(given.work, work)),

    openOf: (client) =>
      [...all.values()].filter((assignment) => assignment.client === client && isOpen(assignment)),

    model: (sha256) =>
      [...all.values()].find((given) => isOpen(given) && given.model?.sha256 === sha256)?.model
        ?.bytes,

    markCurrent(assignment) {
      all.set(assignment.id, assignment);
      const client = clientOf(assignment.client);
      unqueue(client, assignment);
      client.current ??= assignment;
    },

    end(assignment, code) {
      release(assignment.id);
      if (assignment.ended !== undefined) return;
      assignment.ended = code;
      const client = clientOf(assignment.client);
      if (client.current?.id === assignment.id || assignment.offer !== undefined)
        refuse(client, assignment.id, { code, message: endingInWords(code) });
      free(assignment);
    },

    reconcile(client, pending) {
      const { current } = client;
      if (current === undefined || pending.has(current.id)) return undefined;
      client.current = undefined;
      if (current.model === undefined) return current;
      client.tasks.unshift(current);
      return undefined;
    },

    withdraw(client) {
      client.tasks.length = 0;
      client.current = undefined;
    },

    forget: ({ id }) => void all.delete(id),

    forgetBefore(round, open) {
      for (const assignment of all.values())
        if (
          assignment.task !== "evaluate" &&
          assignment.work.round < (isOpen(assignment) ? open : round)
        ) {
          clearTimeout(assignment.lease);
          all.delete(assignment.id);
        }
    },

    close() {
      for (const { lease } of all.values()) clearTimeout(lease);
    },
  };
}

const assignMessage = (
  { id, work, task, model, settings, due }: Assignment,
  { codec, codecSettings }: CodecChoice,
  differences: readonly ModelDifference[],
): OutgoingServerMessage => ({
  type: "assign",
  assignment: id,
  round: work.round,
  attempt: work.attempt,
  // Each task is one phase of its own name.
  phase: task,
  task,
  // Nothing waits to be sent without a model.
  model: nameOf(model!),
  ...(differences.length > 0 && {
    differences: differences.map(({ base, blob }) => ({ base, ...nameOf(blob) })),
  }),
  codec,
  // Left out where the codec has none.
  ...(Object.keys(codecSettings).length > 0 && { codecSettings }),
  settings,
  deadline: Math.max(0, Math.round(due - performance.now())),
});

function unqueue({ tasks }: Client, { id }: Assignment): void {
  const at = tasks.findIndex((task) => task.id === id);
  if (at >= 0) tasks.splice(at, 1);
}

/** Whether it may still be counted. */
const isOpen = ({ task, folded, ended }: Assignment): boolean =>
  task !== "evaluate" && !folded && ended === undefined;

/** The form of the newest model that a client is given. */
export const modelFor = (
  { current, forms: { half, shadow } }: Pick<Models, "current" | "forms">,
  { reads }: Client,
): Blob => shadow ?? (reads.includes("float16") ? half : undefined) ?? current;

/** A blob as messages name it. */
export const nameOf = ({ sha256, bytes }: Blob) => ({
  sha256,
  bytes: bytes.length,
});

/**
 * An id of 128 bits that cannot be guessed without the key, and that a restart computes again. The
 * 0 is the phase: all work has one.
 * @param terms what the answer has to be read by, so that a run resumed on other terms does not
 * know an update that was made on these
 */
export const assignmentId = (
  key: string,
  { round, attempt }: Work,
  client: string,
  terms = "",
): string =>
  createHmac("sha256", Buffer.from(key, "hex"))
    .update(`${round} ${attempt} 0 ${client}${terms}`)
    .digest("hex")
    .slice(0, 32);
