import type { OutgoingServerMessage } from "../../runtime/protocol/server-messages.js";
import { nameOf } from "../clients/assignments.js";
import type { Client } from "../clients/clients.js";
import { inSlices } from "../sessions/fair-scheduling.js";
import type { RunBase, RunContext } from "./context.js";

/** What clients are told of the run beside their work. */
export interface Notices {
  /** Tells an idle client what the run waits for. */
  sendWait(client: Client): void;
  /** Tells every client that the run is finished. */
  sendFinished(): Promise<void>;
  /** The message that the run is finished. */
  finished(): OutgoingServerMessage;
}

export function openNotices({
  definition,
  rounds,
  models,
  clients,
}: RunBase & Pick<RunContext, "models" | "clients">): Notices {
  const { settings } = definition;

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

  const finished = (): OutgoingServerMessage => ({
    type: "finished",
    reason: `All ${settings.rounds} rounds are done.`,
    model: nameOf(models.current),
  });

  return {
    sendWait,
    finished,
    sendFinished: () => inSlices(clients.values(), ({ session }) => session?.send(finished())),
  };
}
