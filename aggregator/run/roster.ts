import { isBarred, rosterOf, type Client } from "../clients/clients.js";
import { mayDoWithout } from "../rounds/statistics.js";
import { namesOf } from "../rounds/transitions.js";
import type { RoundEvent, Rounds } from "../rounds/engine.js";
import type { RunDefinition } from "./definition.js";
import { troubleInWords } from "./discretion.js";

/** Who can be drawn, as the rounds are told of it. */
export interface RosterTeller {
  /** Tells the rounds, once for everything in one turn of the event loop. */
  changed(): void;
  /** Tells them at once. */
  tell(): void;
  close(): void;
}

export function openRoster(options: {
  readonly definition: Pick<RunDefinition, "settings" | "privacy">;
  readonly rounds: Pick<Rounds, "at" | "phase">;
  readonly send: (event: RoundEvent) => void;
  readonly clients: ReadonlyMap<string, Client>;
  /** No client but these will come, and none of them changes. */
  readonly clientsAreAll: boolean;
}): RosterTeller {
  const { definition, rounds, send, clients, clientsAreAll } = options;
  const { settings, privacy } = definition;
  const { minimum, gather = minimum } = settings;
  let due: NodeJS.Immediate | undefined;
  let stuckDue: NodeJS.Immediate | undefined;

  function tell(): void {
    send({ type: "roster", roster: rosterOf(clients.values(), settings, rounds.phase) });
    // Behind what is told of the client whose work came to nothing.
    if (clientsAreAll) stuckDue ??= setImmediate(endIfStuck);
  }

  /** Where too few can train, and nothing can change that, there is nothing to wait for. */
  function endIfStuck(): void {
    stuckDue = undefined;
    // What is on its way into a round is committed first.
    if (clients.size < gather || rounds.at === "sealing" || rounds.at === "committing") return;
    const task = rounds.phase ?? "train";
    // The rounds begin without statistics by themselves.
    if (task === "statistics" && mayDoWithout(settings)) return;
    const barred = [...clients.values()].filter((client) => isBarred(client, task));
    if (clients.size - barred.length >= Math.max(1, minimum)) return;
    if (barred.length === 0) {
      const reason = `there are ${clients.size} clients, and a round takes at least ${minimum}`;
      return send({ type: "broken", reason });
    }
    const names = namesOf(
      barred.map(({ id, troubles }) => [id, troubleInWords(privacy, troubles[task]!)]),
    );
    const what = task === "train" ? "train" : `give ${task} (--normalise none begins without)`;
    send({ type: "broken", reason: `too few clients can ${what}: ${names}` });
  }

  return {
    tell,
    changed() {
      due ??= setImmediate(() => {
        due = undefined;
        tell();
      });
    },
    close() {
      if (due) clearImmediate(due);
      if (stuckDue) clearImmediate(stuckDue);
    },
  };
}
