import { believed, TASKS, type Client } from "../clients/clients.js";
import type { KeyRing } from "../sessions/enrolment.js";
import type { RunContext, RunBase, RunStorage } from "./context.js";
import { openNotices } from "./notices.js";
import { welcomer } from "./welcome.js";
import type { Hello } from "../sessions/handshake.js";
import type { Session } from "../sessions/session.js";
import type { RegisteredClient } from "../storage/ledger.js";

/**
 * How long a client may wait before it dials again (docs/protocol.md, section 9), in milliseconds.
 */
const LONGEST_BACK_OFF = 60_000;

/**
 * The clients of the run: they join, become ready or busy, leave and are given up; and the messages
 * that tell each one how the run stands.
 */
export interface Registry {
  /**
   * Adds a client that the ledger remembers. It can be drawn as if it were connected, for as long
   * as one that just left.
   * @param asked it takes part in the attempt that was cut short
   */
  remember(client: RegisteredClient, asked: boolean): void;
  /** A client has joined; this session replaces any earlier one. */
  welcome(session: Session, hello: Hello): void;
  /** Sets whether the client can be asked for work; `busy` says why not. */
  setAvailability(client: Client, busy: string | undefined, code?: string): void;
  /** Tells an idle client what the run waits for. */
  sendWait(client: Client): void;
  /** Clients that have been away long enough to be forgotten. */
  forgettable(now: number): Client[];
  /** The connection of a client has closed: it may come back. */
  away(session: Session): void;
  /** The client is given up: its open work is lost. */
  gone(client: Client, code: string): void;
  /** Disconnects clients whose key was revoked, and gives them up. */
  dropRevoked(keys: KeyRing): Promise<void>;
  /** Tells every client that the run is finished. */
  sendFinished(): Promise<void>;
  /** Stops waiting for clients that are away. */
  close(): void;
}

/** What clients do, as far as it hangs on whether they are there. */
interface WorkOfClients {
  /** A client reports this work as unfinished. */
  takeUp(client: Client, pending: ReadonlySet<string>): void;
  /** A client is given up whose update may be in a sum that it has to help open. */
  gone(client: string, code: string): void;
}

export function openRegistry(
  context: RunBase &
    RunStorage &
    Pick<RunContext, "models" | "assignments" | "evaluations" | "clients" | "clientOf" | "roster">,
  work: WorkOfClients,
): Registry {
  const { log, othersLog, send, tell, assignments, clients, clientOf, roster } = context;
  const { settings } = context.definition;
  const notices = openNotices(context);
  const welcome = welcomer(context, { notices, expect, takeUp: work.takeUp });
  let closed = false;

  /** Waits for a client that is away or has not reported yet, then gives it up. */
  function expect(client: Client, patience = settings.absence): void {
    clearTimeout(client.absence);
    client.absence = setTimeout(() => gone(client, "left"), patience);
  }

  function gone(client: Client, code: string): void {
    clearTimeout(client.absence);
    client.ready = false;
    assignments.withdraw(client);
    roster.changed();
    context.evaluations.gone(client.id);
    othersLog.info({ client: client.id.slice(0, 32) }, "a client is gone", code);
    for (const { work } of assignments.openOf(client.id)) {
      if (work.phase === undefined) tell("missed", { client: client.id, round: work.round, code });
      send({ type: "gone", client: client.id, code, work });
    }
    work.gone(client.id, code);
  }

  return {
    gone,
    sendWait: notices.sendWait,
    sendFinished: notices.sendFinished,

    remember({ id, samples }, asked) {
      const client = clientOf(id);
      client.samples = samples === null ? null : believed(samples, settings.maxSamples);
      client.registered = true;
      client.ready = true;
      // A client of the attempt that was cut short may be in a back-off and dial only at its end.
      const { absence } = settings;
      expect(client, asked ? Math.max(absence, LONGEST_BACK_OFF) : absence);
    },

    welcome,

    setAvailability(client, busy, code) {
      clearTimeout(client.absence);
      client.reported = true;
      client.ready = busy === undefined;
      client.reason = busy;
      if (client.ready) {
        for (const task of TASKS) delete client.troubles[task];
      }
      tell("client", {
        client: client.id,
        change: client.ready ? "ready" : "busy",
        reason: busy,
        code,
      });
      roster.changed();
      if (!client.ready) return;
      if (client.lacks !== undefined) {
        client.session?.send({
          type: "wait",
          reason: `This run needs ${client.lacks}, which this client does not have.`,
        });
        return;
      }
      send({ type: "back", client: client.id });
      assignments.flush(client);
      // After the roster, so that the sentence counts this client.
      setImmediate(() => notices.sendWait(client));
    },

    away(session) {
      const client = clients.get(session.client);
      if (client?.session !== session) return;
      client.session = undefined;
      client.awaySince = performance.now();
      client.reported = false;
      tell("client", { client: client.id, change: "left" });
      roster.changed();
      if (!closed) expect(client);
    },

    forgettable: (now) =>
      [...clients.values()].filter(
        ({ id, session, ready, awaySince }) =>
          session === undefined &&
          !ready &&
          now - awaySince >= settings.remember &&
          assignments.openOf(id).length === 0,
      ),

    async dropRevoked(keys) {
      try {
        const enrolled = await keys.enrolled();
        for (const client of clients.values()) {
          if (client.session === undefined || enrolled.has(client.id)) continue;
          client.session.close(4001, "not-admitted");
          gone(client, "revoked");
        }
      } catch (error) {
        log.error({ err: error }, "the enrolled keys cannot be read");
      }
    },

    close() {
      closed = true;
      for (const { absence } of clients.values()) clearTimeout(absence);
    },
  };
}
