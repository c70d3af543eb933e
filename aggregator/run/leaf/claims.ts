import type { Assignment } from "../../clients/clients.js";
import type { RunBase, RunContext, RunStorage } from "../context.js";
import type { Folds } from "./folds.js";

/** Asks the store for the permission to fold updates that are whole and have passed every check. */
export interface Claims {
  /** Folds it where the store grants that; keeps it where the store lets it wait. */
  claim(assignment: Assignment): Promise<void>;
  /** Claims again what waits; of this client alone, where one is named. */
  claimAgain(client?: string): Promise<void>;
  /** This assignment's update is of no use any more. */
  forget(assignment: string): void;
}

export function openClaims(
  {
    send,
    leafStore,
    assignments,
  }: Pick<RunBase, "send"> & Pick<RunStorage, "leafStore"> & Pick<RunContext, "assignments">,
  folds: Pick<Folds, "fold">,
): Claims {
  /** By assignment: no attempt takes them yet. */
  const waiting = new Map<string, Assignment>();

  async function claim(assignment: Assignment): Promise<void> {
    const { client, work } = assignment;
    const { sha256, samples, metrics } = assignment.offer!;
    assignment.claimed = true;
    const [{ outcome, code }] = await leafStore.claim([{ client, work, sha256, samples, metrics }]);
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

  return {
    claim,

    async claimAgain(client) {
      // Each once: the store may let it wait again.
      for (const [id, assignment] of [...waiting])
        if (client === undefined || client === assignment.client) {
          waiting.delete(id);
          await claim(assignment);
        }
    },

    forget: (assignment) => void waiting.delete(assignment),
  };
}
