import type { ClientMessageOf } from "../../../runtime/protocol/client-messages.js";
import { modelFor, nameOf } from "../../clients/assignments.js";
import { addTrouble, type Assignment, type Client } from "../../clients/clients.js";
import { brokenBy } from "../../storage/retry.js";
import type { RunContext, RunBase, RunStorage } from "../context.js";
import { troubleInWords } from "../discretion.js";
import type { Claims } from "./claims.js";
import { OFFER_CHECKS, refusalOf, type Refusal } from "../../aggregation/validation.js";
import type { Session } from "../../sessions/session.js";
import { workName } from "../../../runtime/training/transmission.js";
import type { OfferedUpdate } from "../../clients/uploads.js";

/**
 * What becomes of an update at the leaf that its client is at: offered, checked, claimed and
 * folded; or refused, or of no use. The store's answer to the claim is the permission to fold.
 */
export interface Updates {
  /** A client offers an update: it is refused, or asked for. */
  offer(client: Client, offer: ClientMessageOf<"offer">, session: Session): void;
  /** One has arrived whole: it is refused, or claimed. */
  arrived(update: OfferedUpdate, bytes: Uint8Array): Promise<void>;
  /** This assignment's is of no use any more. */
  drop(assignment: string): void;
}

export function openUpdates(
  context: RunBase &
    Pick<RunStorage, "ledger" | "leafStore"> &
    Pick<RunContext, "reducer" | "models" | "uploads" | "assignments" | "clientOf" | "roster">,
  claims: Pick<Claims, "claim" | "forget">,
  /** What is wrong with the offer of a masked update, if anything. */
  wrongIn: (assignment: Assignment, samples: number) => string | undefined,
): Updates {
  const { log, send, ledger, leafStore, reducer, models, uploads, assignments, clientOf } = context;
  const { updateBytes, privacy, settings } = context.definition;

  /** The reducer may still be reading it; it takes calls in order, so this is safe. */
  function drop(assignment: string): void {
    claims.forget(assignment);
    uploads.release(assignment, reducer.drop(assignment));
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
    void leafStore.end([assignment], code);
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
      const wrong = settings.secure ? wrongIn(assignment, offer.samples) : undefined;
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
      else await claims.claim(assignment);
    },
  };
}
