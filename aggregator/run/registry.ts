import { MAX_FRAME_BYTES } from "../../runtime/protocol/chunks.js";
import type { OutgoingServerMessage } from "../../runtime/protocol/messages.js";
import { nameOf } from "../clients/assignments.js";
import { believed, lackOf, type Client } from "../clients/clients.js";
import type { KeyRing } from "../sessions/enrolment.js";
import { inSlices } from "../sessions/fair-scheduling.js";
import type { RunContext, RunBase, RunStorage } from "./context.js";
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
  welcome(session: Session): void;
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

export function openRegistry(
  context: RunBase &
    RunStorage &
    Pick<RunContext, "models" | "assignments" | "evaluations" | "clients" | "clientOf" | "roster">,
  /** Takes up the work that a client reports as unfinished. */
  takeUp: (client: Client, pending: ReadonlySet<string>) => void,
): Registry {
  const { run, definition, log, othersLog, rounds, send, tell, ledger, epoch } = context;
  const { withRetry, models, assignments, clients, clientOf, roster } = context;
  const { settings, needs, updateBytes } = definition;
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
      tell("missed", { client: client.id, round: work.round, code });
      send({ type: "gone", client: client.id, code, work });
    }
  }

  function sendWait(client: Client): void {
    if (client.ready && !client.current && rounds.at !== "finished")
      client.session?.send({
        type: "wait",
        reason: rounds.waitsFor().slice(0, 1024),
        retryAfter: retryAfter(client),
      });
  }

  /**
   * When a client whose connection breaks should dial again: as the rounds say, but before it
   * counts as absent. A client that stays away longer is not drawn, and the round may be waiting
   * for exactly these clients.
   */
  function retryAfter({ id }: Client): number {
    const soon = settings.absence * (0.25 + 0.25 * Math.random());
    return Math.round(Math.min(rounds.retryAfter(id), soon));
  }

  const farewell = (): OutgoingServerMessage => ({
    type: "finished",
    reason: `All ${settings.rounds} rounds are done.`,
    model: nameOf(models.current),
  });

  return {
    sendWait,
    gone,

    remember({ id, samples }, asked) {
      const client = clientOf(id);
      client.samples = samples === null ? null : believed(samples, settings.maxSamples);
      client.registered = true;
      client.ready = true;
      // A client of the attempt that was cut short may be in a back-off and dial only at its end.
      const { absence } = settings;
      expect(client, asked ? Math.max(absence, LONGEST_BACK_OFF) : absence);
    },

    welcome(session) {
      const hello = session.hello!;
      const client = clientOf(session.client);
      const before = client.session;
      client.session = session;
      client.reported = false;
      before?.close(4000, "replaced");
      // Until it reports on its new connection it is treated as it was on the old one.
      expect(client);
      client.build = hello.capabilities.build;
      client.lacks = lackOf(needs, hello.capabilities);
      if (client.lacks !== undefined)
        othersLog.warn(
          { client: client.id.slice(0, 32) },
          `a client cannot take part: it lacks ${client.lacks}`,
        );
      else {
        // Better the count of its last update than none.
        const samples =
          hello.samples === null ? client.samples : believed(hello.samples, settings.maxSamples);
        if (!client.registered || client.samples !== samples) {
          client.registered = true;
          client.samples = samples;
          void withRetry(() => ledger.register(epoch, { id: client.id, samples }));
        }
      }
      const sameRun = hello.run === run;
      const pending = new Set(sameRun ? hello.pending.map(({ assignment }) => assignment) : []);
      const last = ledger.lastCounted(client.id);
      if (
        last !== undefined &&
        (!sameRun || hello.counted?.assignment !== last.assignment) &&
        !pending.has(last.assignment)
      )
        othersLog.warn(
          { client: client.id.slice(0, 32), round: last.round },
          "a client has lost its state and starts at zero",
        );
      const lost = assignments.reconcile(client, pending);
      session.send({
        type: "welcome",
        epoch,
        run,
        limits: {
          frameBytes: MAX_FRAME_BYTES,
          windowBytes: settings.windowBytes,
          blobBytes: updateBytes,
        },
        heartbeat: settings.heartbeat,
        bearer: session.bearer,
        lastCounted: last && {
          round: last.round,
          assignment: last.assignment,
          sha256: last.sha256,
        },
        round: models.round + 1,
        model: nameOf(models.current),
      });
      tell("client", {
        client: client.id,
        change: "joined",
        reason: client.lacks && `it lacks ${client.lacks}`,
      });
      if (rounds.at === "finished") session.send(farewell());
      if (lost !== undefined)
        send({
          type: "gone",
          client: client.id,
          work: lost.work,
          code: "left",
        });
      takeUp(client, pending);
    },

    setAvailability(client, busy, code) {
      clearTimeout(client.absence);
      client.reported = true;
      client.ready = busy === undefined;
      client.reason = busy;
      if (client.ready) {
        delete client.troubles.train;
        delete client.troubles.evaluate;
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
      setImmediate(() => sendWait(client));
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

    sendFinished: () => inSlices(clients.values(), ({ session }) => session?.send(farewell())),

    close() {
      closed = true;
      for (const { absence } of clients.values()) clearTimeout(absence);
    },
  };
}
