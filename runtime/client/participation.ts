import { Connection, type EndReason } from "../connection/connection.js";
import { checkAvailability } from "./availability.js";
import type { Device, Participation } from "./context.js";
import { ownExamples } from "./examples.js";
import { halfTrainedIn } from "./half-trained.js";
import { introduce, received, welcomed } from "./message-handlers.js";
import type { Outcome } from "./options.js";
import { knownRuns, removeOrphans } from "./records.js";
import { leaveSecure } from "./secure-round.js";
import { withdraw } from "./task.js";

const AVAILABILITY_MS = 5000;

/**
 * Takes part until the run ends, the signal says so, or the aggregator sends the client away.
 * `joined` is told before the aggregator is dialled.
 * @throws as `FederatedClient.run`
 */
export async function takePart(
  device: Device,
  stopped: AbortSignal,
  joined: (part: Participation) => void,
): Promise<Outcome> {
  const { options, platform, events, workers, predictor } = device;
  const { url, state, token, tls, patience } = options;
  const store = await platform.openState(state);
  let part: Participation | undefined;
  let poll: ReturnType<typeof setInterval> | undefined;
  try {
    const identity = await platform.identity(store);
    const examples = await ownExamples(options, identity);
    await removeOrphans(store);
    const [run] = await knownRuns(store);
    const end = await new Promise<{ reason: EndReason; message: string }>((resolve) => {
      const joining: Participation = {
        ...device,
        stopped,
        store,
        identity,
        halfTrained: halfTrainedIn(store),
        examples,
        offered: new Map(),
        connection: new Connection({
          url,
          openSocket: platform.openSocket,
          socket: { tls },
          identity,
          token,
          run,
          patience,
          introduce: (run) => introduce(joining, run),
          events: {
            welcome: (welcome) => welcomed(joining, welcome),
            message: (message) => received(joining, message),
            problem: events.problem,
            lost: (reason, retryIn) => events.emit("line", { up: false, reason, retryIn }),
            ended: (reason, message) => resolve({ reason, message }),
          },
        }),
      };
      part = joining;
      joined(part);
      if (stopped.aborted) return resolve({ reason: "closed", message: "" });
      checkAvailability(part);
      poll = setInterval(checkAvailability, AVAILABILITY_MS, part);
      part.connection.start();
    });
    if (part!.unable !== undefined) throw part!.unable;
    return {
      reason: end.reason === "closed" ? "stopped" : end.reason,
      message: end.message,
      model: predictor.committed,
    };
  } finally {
    clearInterval(poll);
    if (part !== undefined) {
      withdraw(part);
      leaveSecure(part);
    }
    workers.update({ running: false });
    await part?.task?.done;
    await part?.session?.records.idle();
    await part?.halfTrained.idle();
    await store.close();
  }
}
