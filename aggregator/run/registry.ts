import { MAX_FRAME_BYTES } from "../../runtime/protocol/chunks.js";
import type { OutgoingServerMessage } from "../../runtime/protocol/messages.js";
import { nameOf } from "../clients/assignments.js";
import { believed, lackOf, type Client } from "../clients/clients.js";
import type { KeyRing } from "../sessions/enrolment.js";
import { inSlices } from "../sessions/fair-scheduling.js";
import type { RunContext, RunBase, RunStorage } from "./context.js";
import type { Session } from "../sessions/session.js";
import type { RegisteredClient } from "../storage/ledger.js";

/** As long a client may wait before it dials (docs/protocol.md, section 9), in milliseconds. */
const LONGEST_BACK_OFF = 60_000;

/**
 * Who is here: clients come, are ready or busy, stay away, and are gone; and what each is told of
 * the run.
 */
export interface Presence {
  /**
   * Expects a client that the ledger remembers back. It is drawn as if it were here, for as long as
   * one that just left.
   * @param asked it takes part in the attempt that was cut short
   */
  remember(client: RegisteredClient, asked: boolean): void;
  /** A client has come, on a connection that is its only one from now on. */
  welcome(session: Session): void;
  /** It can be asked for work, or cannot for this reason. */
  stand(client: Client, busy: string | undefined, code?: string): void;
  /** Tells a client that stands by what the run waits for. */
  sayWait(client: Client): void;
  /** Those who have been away for so long that the run forgets them. */
  longGone(now: number): Client[];
  /** The connection of a client is closed: it may come back. */
  away(session: Session): void;
  /** Nothing will come from it any more. */
  gone(client: Client, code: string): void;
  /**
   * A key that is revoked while its client is connected loses its connection, and what it has in
   * hand.
   */
  sendAwayRevoked(keys: KeyRing): Promise<void>;
  /** Tells everybody that the run is finished. */
  sayFarewell(): Promise<void>;
  /** Nobody is waited for any more. */
  close(): void;
}

export function openPresence(
  context: RunBase &
    RunStorage &
    Pick<RunContext, "models" | "assignments" | "evaluations" | "clients" | "clientOf" | "roster">,
  /** A client says what it has in hand. */
  takeUp: (client: Client, pending: ReadonlySet<string>) => void,
): Presence {
  const { run, definition, log, othersLog, rounds, send, tell, ledger, epoch } = context;
  const { durably, models, assignments, clients, clientOf, roster } = context;
  const { settings, needs, updateBytes } = definition;
  let closed = false;

  /** Waits for a client that is away, or has not said anything yet; at the end it is gone. */
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

  function sayWait(client: Client): void {
    if (client.ready && !client.inHand && rounds.at !== "finished")
      client.session?.send({
        type: "wait",
        reason: rounds.waitsFor().slice(0, 1024),
        retryAfter: retryAfter(client),
      });
  }

  /**
   * When a client whose connection breaks shall dial again: as the rounds have it, but while it
   * still counts as here. Who stays away for longer is not drawn, and the round may be waiting for
   * just these clients.
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
    sayWait,
    gone,

    remember({ id, samples }, asked) {
      const client = clientOf(id);
      client.samples = samples === null ? null : believed(samples, settings.maxSamples);
      client.registered = true;
      client.ready = true;
      // Whoever takes part in the attempt that was cut short may be waiting as long as a back-off
      // lasts before it dials.
      const { absence } = settings;
      expect(client, asked ? Math.max(absence, LONGEST_BACK_OFF) : absence);
    },

    welcome(session) {
      const hello = session.hello!;
      const client = clientOf(session.client);
      const before = client.session;
      client.session = session;
      client.said = false;
      before?.close(4000, "replaced");
      // Until it has said something on its new connection it is treated as it was on the old one.
      expect(client);
      client.build = hello.capabilities.build;
      client.lacks = lackOf(needs, hello.capabilities);
      if (client.lacks !== undefined)
        othersLog.warn(
          { client: client.id.slice(0, 32) },
          `a client cannot take part: it lacks ${client.lacks}`,
        );
      else {
        // What its last update was trained on is known better than nothing.
        const samples =
          hello.samples === null ? client.samples : believed(hello.samples, settings.maxSamples);
        if (!client.registered || client.samples !== samples) {
          client.registered = true;
          client.samples = samples;
          void durably(() => ledger.register(epoch, { id: client.id, samples }));
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

    stand(client, busy, code) {
      clearTimeout(client.absence);
      client.said = true;
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
      // Behind the roster, so that the sentence counts this client.
      setImmediate(() => sayWait(client));
    },

    away(session) {
      const client = clients.get(session.client);
      if (client?.session !== session) return;
      client.session = undefined;
      client.awaySince = performance.now();
      client.said = false;
      tell("client", { client: client.id, change: "left" });
      roster.changed();
      if (!closed) expect(client);
    },

    longGone: (now) =>
      [...clients.values()].filter(
        ({ id, session, ready, awaySince }) =>
          session === undefined &&
          !ready &&
          now - awaySince >= settings.remember &&
          assignments.openOf(id).length === 0,
      ),

    async sendAwayRevoked(keys) {
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

    sayFarewell: () => inSlices(clients.values(), ({ session }) => session?.send(farewell())),

    close() {
      closed = true;
      for (const { absence } of clients.values()) clearTimeout(absence);
    },
  };
}
