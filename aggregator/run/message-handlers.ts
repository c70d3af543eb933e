import type { ClientMessage, ClientMessageOf } from "../../runtime/protocol/client-messages.js";
import type { Evaluation } from "../../runtime/training/local-round.js";
import { printable } from "../../runtime/protocol/printable.js";
import { addTrouble, TASKS, type Client } from "../clients/clients.js";
import type { RunContext, RunBase } from "./context.js";
import { troubleInWords } from "./discretion.js";
import type { Registry } from "./registry.js";
import type { Sessions } from "../sessions/open-sessions.js";
import type { Session, SessionHandlers, SessionMessage } from "../sessions/session.js";
import type { SecurePhases } from "./secure-phases.js";
import type { StatisticsPhase } from "./statistics.js";
import type { Leaf } from "./leaf/leaf.js";

/** What the run does with the events of a session. */
export function sessionHandlers(
  context: MessageContext & Pick<RunContext, "clients">,
  options: {
    readonly registry: Registry;
    readonly leaf: Pick<Leaf, "offer" | "drop">;
    readonly statistics: Pick<StatisticsPhase, "answered">;
    readonly secure: SecureAnswers;
    readonly sessions: Pick<Sessions, "closed">;
  },
): SessionHandlers {
  const { clients, clientOf, uploads, definition, tell } = context;
  const { registry, leaf, statistics, secure, sessions } = options;
  const handlers = messageHandlers(context, registry, leaf, statistics, secure);
  return {
    hasRoomFor: (client) => clients.has(client) || clients.size < definition.settings.maxClients,
    admitted: registry.welcome,
    message(session, message) {
      const handle = handlers[message.type as WorkMessage] as Handler<ClientMessage> | undefined;
      if (handle !== undefined) return handle(clientOf(session.client), message, session);
      session.complain("out-of-order", `"${message.type}" has no place now`);
    },
    chunk: (session, chunk) => uploads.chunk(session, chunk),
    closed(session) {
      sessions.closed(session);
      uploads.sessionClosed(session);
      registry.away(session);
    },
    refused: (reason, address) => tell("turnedAway", { reason: printable(reason), address }),
  };
}

type SecureAnswers = Pick<SecurePhases, "answers" | "gone" | "doubted">;

type MessageContext = RunBase &
  Pick<RunContext, "uploads" | "assignments" | "evaluations" | "clientOf" | "roster">;

type Handler<M> = (client: Client, message: M, session: Session) => void;
type WorkMessage = Exclude<ClientMessage["type"], SessionMessage>;

/** What a client's messages about its work do, by their types; one that is missing is an error. */
function messageHandlers(
  context: MessageContext,
  registry: Pick<Registry, "setAvailability" | "gone">,
  leaf: Pick<Leaf, "offer" | "drop">,
  statistics: Pick<StatisticsPhase, "answered">,
  secure: SecureAnswers,
): { readonly [T in WorkMessage]: Handler<ClientMessageOf<T>> } {
  const { othersLog, send, tell, assignments, evaluations } = context;
  const { privacy } = context.definition;
  const discreet = privacy?.discreet === true;

  function progress(
    client: Client,
    { assignment: id, batch, batches, loss }: ClientMessageOf<"progress">,
  ): void {
    const assignment = assignments.own(client, id);
    if (assignment === undefined) return;
    const { round } = assignment.work;
    tell("progress", { client: client.id, round, batch, batches, loss });
  }

  function gaveUp(
    client: Client,
    message: ClientMessageOf<"decline"> | ClientMessageOf<"failed">,
  ): void {
    const assignment = assignments.own(client, message.assignment);
    if (assignment === undefined) return;
    const { work } = assignment;
    if (message.code === "lists") secure.doubted(client.id);
    const what = message.type === "decline" ? "declined" : "failed";
    const { code: given, message: words } = message;
    const facts = { client: client.id.slice(0, 32), round: work.round };
    if (discreet) othersLog.warn(facts, `a client ${what} its assignment`);
    else othersLog.warn({ ...facts, code: given }, `a client ${what} its assignment`, words);
    const trouble = addTrouble(client, assignment.task, {
      what,
      code: given,
      message: words ?? "",
    });
    const barred = trouble.until !== undefined;
    // Before the round hears of it, so that the next attempt is not drawn from the roster before.
    if (barred) context.roster.tell();
    if (assignment.task === "evaluate") {
      assignments.forget(assignment);
      assignments.free(assignment);
      return evaluations.answered(assignment, undefined);
    }
    if (assignment.folded) return secure.gone(client.id, given);
    leaf.drop(assignment.id);
    assignments.free(assignment);
    const code = `${what}-${given}`;
    // It would stand in the sentence of an abandoned round.
    const reason = troubleInWords(privacy, trouble);
    if (assignment.task === "train")
      tell("missed", { client: client.id, round: work.round, code, reason, barred });
    send({ type: "gone", client: client.id, work, code, reason, barred });
  }

  /** With a code, the client would decline anything it is asked for. */
  function busy(client: Client, { reason, code }: ClientMessageOf<"busy">): void {
    if (code !== null) {
      const facts = { client: client.id.slice(0, 32) };
      if (discreet) othersLog.warn(facts, "a client cannot take part");
      else othersLog.warn({ ...facts, code }, "a client cannot take part", reason);
      for (const task of TASKS)
        addTrouble(client, task, { what: "declined", code, message: reason });
    }
    registry.setAvailability(client, reason, code ?? undefined);
  }

  function report(
    client: Client,
    { assignment: id, evaluation, statistics: given }: ClientMessageOf<"report">,
    session: Session,
  ): void {
    const assignment = assignments.own(client, id);
    if (assignment?.task === "statistics" && given !== null)
      return statistics.answered(client, session, assignment, given);
    if (assignment?.task !== "evaluate" || evaluation === null) {
      // No trouble for the operator: it may have been asked before a restart.
      session.send({
        type: "refused",
        assignment: id,
        code: "unknown-assignment",
        message: "this client is not asked for such a report now",
      });
      return;
    }
    assignments.forget(assignment);
    const wrong = wrongIn(evaluation);
    if (wrong !== undefined) {
      const refusal = { code: "other", message: wrong };
      addTrouble(client, "evaluate", { what: "refused", ...refusal });
      assignments.refuse(client, id, refusal);
      assignments.free(assignment);
      return evaluations.answered(assignment, undefined);
    }
    delete client.troubles.evaluate;
    session.send({ type: "received", assignment: id });
    assignments.free(assignment);
    evaluations.answered(assignment, evaluation);
  }

  return {
    ready: (client) => registry.setAvailability(client, undefined),
    busy,
    bye(client, _message, session) {
      session.close(1000, "bye");
      registry.gone(client, "bye");
    },
    abort: (_client, { transfer }, session) => context.uploads.aborted(session, transfer),
    accept() {},
    progress,
    decline: gaveUp,
    failed: gaveUp,
    offer: leaf.offer,
    report,
    ...secure.answers,
  };
}

/** What is wrong with a client's figures of a model. */
function wrongIn({ count, correct, loss }: Evaluation): string | undefined {
  if (correct > count) return `"evaluation.correct" expected at most ${count}, got ${correct}`;
  return loss < 0 ? `"evaluation.loss" expected 0 or more, got ${loss}` : undefined;
}
