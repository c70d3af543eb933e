import { createHmac } from "node:crypto";
import { float32 } from "../../runtime/codecs/float32.js";
import type { Assignment, Client } from "./clients.js";
import { OVER, type Refusal } from "../aggregation/validation.js";
import type { Work } from "../rounds/participants.js";
import type { Blob } from "../storage/ledger.js";

/**
 * The work that was given to clients: who has what in hand, what waits to be sent, and how each
 * piece ends.
 */
export interface Assignments {
  /**
   * Work for a client, in place of the same work given before: sent now, or when the client can
   * take it.
   */
  give(assignment: Assignment): void;
  /** Sends the client its next work if it can take it now. */
  flush(client: Client): void;
  get(id: string): Assignment | undefined;
  /** This client's assignment of that id. */
  own(client: Client, id: string): Assignment | undefined;
  /** What was given out for this phase of a round, by client. */
  of(work: Work): ReadonlyMap<string, Assignment>;
  /** The training of this client that may still be counted. */
  openOf(client: string): readonly Assignment[];
  /** The model that some open piece of work starts from. */
  model(sha256: string): Uint8Array | undefined;
  /** It is answered: the client has nothing in hand any more. */
  free(assignment: Assignment): void;
  /**
   * The client has it although it was not sent by this process: it is at work, or has offered it
   * after a restart.
   */
  inHand(assignment: Assignment): void;
  /** Ends it without counting it, and says so to a client that knows of it. */
  end(assignment: Assignment, code: string): void;
  refuse(client: Client, id: string, refusal: Refusal): void;
  /**
   * A client is back on a new connection with this work in hand: what it does not have is sent
   * again. Returns what it has lost, where that cannot be sent again.
   */
  reconcile(client: Client, pending: ReadonlySet<string>): Assignment | undefined;
  /** What was given to a client that is gone is not sent any more. */
  withdraw(client: Client): void;
  /** Lets go of a piece of work that nobody will ask for again. */
  forget(assignment: Assignment): void;
  /**
   * Lets go of all training before a round, but what may still be counted only before the round
   * `open`.
   */
  forgetBefore(round: number, open: number): void;
  /** No time runs any more. */
  close(): void;
}

export function openAssignments(options: {
  readonly clientOf: (id: string) => Client;
  /** An assignment has ended: what is held of its update is of no use any more. */
  readonly release: (id: string) => void;
  readonly refused: (client: Client, id: string, refusal: Refusal) => void;
}): Assignments {
  const { clientOf, release, refused } = options;
  const all = new Map<string, Assignment>();

  function flush(client: Client): void {
    if (!client.session || !client.said || !client.ready || client.inHand) return;
    const assignment = client.tasks.shift();
    if (assignment === undefined) return;
    client.inHand = assignment;
    client.session.send({
      type: "assign",
      assignment: assignment.id,
      round: assignment.work.round,
      attempt: assignment.work.attempt,
      phase: assignment.phase,
      task: assignment.task,
      // Nothing waits to be sent without a model.
      model: nameOf(assignment.model!),
      codec: float32.name,
      settings: assignment.settings,
      deadline: Math.max(0, Math.round(assignment.due - performance.now())),
    });
  }

  function unqueue({ tasks }: Client, { id }: Assignment): void {
    const at = tasks.findIndex((task) => task.id === id);
    if (at >= 0) tasks.splice(at, 1);
  }

  function free(assignment: Assignment): void {
    const client = clientOf(assignment.client);
    unqueue(client, assignment);
    if (client.inHand?.id === assignment.id) client.inHand = undefined;
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
      if (client.inHand?.id === id) client.inHand = assignment;
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

    of({ round, attempt, phase }) {
      const given = new Map<string, Assignment>();
      for (const assignment of all.values())
        if (
          assignment.task === "train" &&
          assignment.work.round === round &&
          assignment.work.attempt === attempt &&
          assignment.work.phase === phase
        )
          given.set(assignment.client, assignment);
      return given;
    },

    openOf: (client) =>
      [...all.values()].filter((assignment) => assignment.client === client && isOpen(assignment)),

    model(sha256) {
      for (const assignment of all.values())
        if (isOpen(assignment) && assignment.model?.sha256 === sha256)
          return assignment.model.bytes;
      return undefined;
    },

    inHand(assignment) {
      all.set(assignment.id, assignment);
      const client = clientOf(assignment.client);
      unqueue(client, assignment);
      client.inHand ??= assignment;
    },

    end(assignment, code) {
      release(assignment.id);
      if (assignment.over !== undefined) return;
      assignment.over = code;
      const client = clientOf(assignment.client);
      if (client.inHand?.id === assignment.id || assignment.offer !== undefined)
        refuse(client, assignment.id, { code, message: OVER[code] });
      free(assignment);
    },

    reconcile(client, pending) {
      const { inHand } = client;
      if (inHand === undefined || pending.has(inHand.id)) return undefined;
      client.inHand = undefined;
      if (inHand.model === undefined) return inHand;
      client.tasks.unshift(inHand);
      return undefined;
    },

    withdraw(client) {
      client.tasks.length = 0;
      client.inHand = undefined;
    },

    forget: ({ id }) => void all.delete(id),

    forgetBefore(round, open) {
      for (const assignment of all.values())
        if (
          assignment.task === "train" &&
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

/** It may still be counted. */
const isOpen = ({ task, folded, over }: Assignment): boolean =>
  task === "train" && !folded && over === undefined;

/** A blob as messages name it. */
export const nameOf = ({ sha256, bytes }: Blob) => ({
  sha256,
  bytes: bytes.length,
});

/** 128 bits that nobody can guess who does not know the key, and that a restart finds again. */
export const assignmentId = (
  key: string,
  { round, attempt, phase }: Work,
  client: string,
): string =>
  createHmac("sha256", Buffer.from(key, "hex"))
    .update(`${round} ${attempt} ${phase} ${client}`)
    .digest("hex")
    .slice(0, 32);
