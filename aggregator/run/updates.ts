import type { ClientMessageOf } from "../../runtime/protocol/messages.js";
import { modelFor, nameOf } from "../clients/assignments.js";
import { addTrouble, type Assignment, type Client } from "../clients/clients.js";
import { brokenBy } from "../storage/retry.js";
import type { RunContext, RunBase, RunStorage } from "./context.js";
import { troubleInWords } from "./discretion.js";
import type { Folds } from "./folds.js";
import { OFFER_CHECKS, refusalOf, type Refusal } from "../aggregation/validation.js";
import type { Session } from "../sessions/session.js";
import type { SecurePhases } from "./secure-phases.js";
import { workName } from "../../runtime/training/transmission.js";
import type { OfferedUpdate } from "../clients/uploads.js";

/**
 * What becomes of an update at the leaf that its client is at: offered, checked, claimed and
 * folded; or refused, or of no use. The store's answer to the claim is the permission to fold.
 */
export interface Updates {
  /** A client offers an update: it is refused, or asked for. */
  offer(client: Client, offer: ClientMessageOf<"offer">, session: Session): void;
  /** One has arrived whole: it is refused, or claimed. */
  arrived(update: OfferedUpdate, bytes: Uint8Array): Promise<void>;
  /** Claims again what the store has let wait; of this client alone, where one is named. */
  claimAgain(client?: string): Promise<void>;
  /** This assignment's is of no use any more. */
  drop(assignment: string): void;
}

export function openUpdates(
  context: RunBase &
    Pick<RunStorage, "ledger" | "leaf"> &
    Pick<RunContext, "reducer" | "models" | "uploads" | "assignments" | "clientOf" | "roster">,
  folds: Pick<Folds, "fold">,
  secure: () => Pick<SecurePhases, "wrongIn">,
): Updates {
  const { log, send, ledger, leaf, reducer, models, uploads, assignments, clientOf } = context;
  const { updateBytes, privacy, settings } = context.definition;
  /** Whole and checked, by assignment: there is no attempt that takes them yet. */
  const waiting = new Map<string, Assignment>();

  /** The reducer may still be reading it; it takes calls in order, so this is safe. */
  function drop(assignment: string): void {
    waiting.delete(assignment);
    uploads.release(assignment, reducer.drop(assignment));
  }

  /** Asks for the permission to fold an update that is whole and has passed every check. */
  async function claim(assignment: Assignment): Promise<void> {
    const { client, work } = assignment;
    const { sha256, samples, metrics } = assignment.offer!;
    assignment.claimed = true;
    const [{ outcome, code }] = await leaf.claim([{ client, work, sha256, samples, metrics }]);
    // Called off meanwhile: the client knows.
    if (assignment.ended !== undefined) return;
    if (outcome === "yours") {
      // In the fold before the rounds hear of it, for they may seal it then.
      folds.fold(assignment);
      return send({ type: "admitted", client, work });
    }
    assignment.claimed = false;
    if (outcome === "ended") return assignments.end(assignment, code!);
    // What is whole does not run out of time.
    clearTimeout(assignment.lease);
    waiting.set(assignment.id, assignment);
  }

  /** Refuses an update; the round does not wait for another one from this client. */
  function refuse(client: Client, id: string, refusal: Refusal): void {
    assignments.refuse(client, id, refusal);
    // A second update for one assignment: the first one still counts.
    if (refusal.code === "conflict") return;
    const assignment = assignments.own(client, id);
    if (assignment?.task !== "train" || assignment.folded) return;
    const { code } = refusal;
    // An update that is over already was refused, or came too late, before.
    const trouble =
      assignment.ended === undefined
        ? addTrouble(client, "train", { what: "refused", ...refusal })
        : undefined;
    assignment.ended ??= code;
    void leaf.end([assignment], code);
    const barred = trouble?.until !== undefined;
    if (barred) context.roster.tell();
    drop(id);
    assignments.free(assignment);
    send({
      type: "refused",
      client: client.id,
      work: assignment.work,
      code,
      // It would stand in the sentence of an abandoned round.
      reason: trouble && troubleInWords(privacy, trouble),
      barred,
    });
  }

  return {
    drop,

    async claimAgain(client) {
      for (const [id, assignment] of waiting)
        if (client === undefined || client === assignment.client) {
          waiting.delete(id);
          await claim(assignment);
        }
    },

    offer(client, offer, session) {
      const last = ledger.lastCounted(client.id);
      if (last?.assignment === offer.assignment && last.sha256 === offer.sha256)
        return session.send({
          type: "committed",
          assignment: last.assignment,
          round: last.round,
          model: nameOf(models.current),
        });
      const assignment = assignments.own(client, offer.assignment);
      const refusal = refusalOf(OFFER_CHECKS, {
        known: assignment?.task === "train" || last?.assignment === offer.assignment,
        ended: assignment?.ended,
        sha256: offer.sha256,
        before: last?.assignment === offer.assignment ? last.sha256 : assignment?.offer?.sha256,
        bytes: offer.bytes,
        expectedBytes: updateBytes,
      });
      if (refusal !== undefined || assignment === undefined)
        return refuse(client, offer.assignment, refusal!);
      if (assignment.folded) return session.send({ type: "received", assignment: assignment.id });
      const wrong = settings.secure ? secure().wrongIn(assignment, offer.samples) : undefined;
      if (wrong !== undefined)
        return refuse(client, offer.assignment, { code: "other", message: wrong });
      assignment.offer = offer;
      assignments.markCurrent(assignment);
      // What was given before a restart may have no time of its own.
      uploads.offer(session, { ...offer, due: assignment.due || Infinity });
    },

    async arrived({ assignment: id, sha256 }, bytes) {
      let refusal: Refusal | undefined;
      const given = assignments.get(id);
      // Of no use any more: the client knows.
      if (given === undefined) return;
      try {
        refusal = await reducer.check(id, sha256, bytes, {
          work: workName(context.run, given.work.round, given.work.attempt),
          samples: given.offer!.samples,
          // What was given before a restart is given again in the same form.
          fromHalf: (given.model ?? modelFor(models, clientOf(given.client))) === models.forms.half,
        });
      } catch (error) {
        log.error({ err: error }, "an update could not be looked at");
        return send(brokenBy(error));
      }
      const assignment = assignments.get(id);
      if (assignment === undefined || assignment.ended !== undefined) {
        // The round closed meanwhile, and the client knows.
        await reducer.drop(id);
        return;
      }
      if (refusal !== undefined) refuse(clientOf(assignment.client), id, refusal);
      else await claim(assignment);
    },
  };
}
