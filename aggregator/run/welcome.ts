import { MAX_FRAME_BYTES } from "../../runtime/protocol/chunks.js";
import { modelFor, nameOf } from "../clients/assignments.js";
import { believed, lackOf, type Client } from "../clients/clients.js";
import type { Hello } from "../sessions/handshake.js";
import type { Session } from "../sessions/session.js";
import type { RunBase, RunContext, RunStorage } from "./context.js";
import type { Notices } from "./notices.js";

/** Milliseconds between two records of one client's hello in the journal. */
const BETWEEN_RECORDS = 60_000;

/** Welcomes a client that has proven who it is; its session replaces any earlier one. */
export function welcomer(
  context: RunBase & RunStorage & Pick<RunContext, "models" | "assignments" | "clientOf">,
  options: {
    readonly notices: Pick<Notices, "finished">;
    /** Gives the client up unless it reports in time. */
    readonly expect: (client: Client) => void;
    /** Takes up the work that a client reports as unfinished. */
    readonly takeUp: (client: Client, pending: ReadonlySet<string>) => void;
  },
): (session: Session, hello: Hello) => void {
  const { run, definition, othersLog, rounds, send, tell, ledger, epoch } = context;
  const { withRetry, models, assignments, clientOf } = context;
  const { settings, needs, updateBytes } = definition;
  const { notices, expect, takeUp } = options;

  return (session, hello) => {
    const client = clientOf(session.client);
    const before = client.session;
    client.session = session;
    client.reported = false;
    before?.close(4000, "replaced");
    // Until it reports on its new connection it is treated as it was on the old one.
    expect(client);
    client.build = hello.capabilities.build;
    client.reads = hello.capabilities.models;
    // After a restart work is made before it is known again what the client reads.
    for (const assignment of assignments.openOf(client.id))
      if (assignment.model === models.current) assignment.model = modelFor(models, client);
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
      const isOther = client.samples !== samples;
      client.samples = samples;
      // Else a client with another number on each connection fills the journal.
      const isDue = performance.now() - client.registeredAt >= BETWEEN_RECORDS;
      if (!client.registered || (isOther && isDue)) {
        client.registered = true;
        client.registeredAt = performance.now();
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
    if (rounds.at === "finished") session.send(notices.finished());
    if (lost !== undefined)
      send({
        type: "gone",
        client: client.id,
        work: lost.work,
        code: "left",
      });
    takeUp(client, pending);
  };
}
