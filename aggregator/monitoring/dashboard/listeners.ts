import { isFaultless } from "../../aggregation/validation.js";
import type { AggregatorEvents } from "../../run/options.js";
import { statisticsInWords } from "../../clients/statistics.js";
import { thresholdInWords } from "../../clients/threshold.js";
import type { Traffic } from "../metrics.js";
import type { Chronicle } from "./chronicle.js";
import { shortFigures } from "./round-points.js";
import type { RoundWork } from "./round-work.js";

export type Listeners = {
  readonly [E in keyof AggregatorEvents]?: (...args: AggregatorEvents[E]) => void;
};

/** What the page makes of the aggregator's events. */
export function listenersOf(
  { learn, enter }: Pick<Chronicle, "learn" | "enter">,
  work: RoundWork,
  options: {
    readonly traffic: Readonly<Traffic>;
    readonly channelNames: readonly string[] | undefined;
    /** Something has changed that is neither a round's figure nor an entry of the log. */
    readonly wake: () => void;
  },
): Listeners {
  const { traffic, channelNames, wake } = options;
  let seen = { received: 0, sent: 0 };

  return {
    waiting: wake,
    client({ client, change, reason }) {
      const name = client.slice(0, 8);
      if (change === "joined")
        enter(
          reason === undefined ? "info" : "warning",
          `Client ${name} joined${reason ? `, but ${reason}` : ""}.`,
          `joined ${reason ?? ""}`,
          (count) => `${count} clients joined${reason ? `, but ${reason}` : ""}.`,
        );
      else if (change === "left")
        enter(
          "info",
          `The connection of client ${name} closed.`,
          "left",
          (count) => `The connections of ${count} clients closed.`,
        );
      else wake();
    },
    opened({ round, attempt, selected, goal, phase }) {
      if (phase !== undefined) {
        const asked = plural(selected.length, "client");
        return enter("info", `${asked} asked for ${phase} of the inputs.`);
      }
      work.opened(selected);
      const asked =
        selected.length === 0
          ? `for ${plural(goal, "update")} of any client`
          : `${plural(selected.length, "client")} asked`;
      enter(
        "info",
        `Round ${round}${attempt > 1 ? `, attempt ${attempt},` : ""} opened: ${asked}.`,
      );
    },
    progress({ client, batch, batches, loss }) {
      if (work.progress(client, batches > 0 ? batch / batches : 0, loss)) wake();
    },
    counted({ client }) {
      work.counted(client);
      wake();
    },
    missed({ client, round, code, reason = code }) {
      work.missed(client, code);
      enter(
        "warning",
        `Round ${round} goes without client ${client.slice(0, 8)}: ${sentenceEnd(reason)}`,
        `missed ${code}`,
        (count) =>
          `Round ${round} goes without ${count} clients, the last of them: ${sentenceEnd(reason)}`,
      );
    },
    refused({ client, code, message }) {
      // One that came late is told so too, and counts as missed.
      if (isFaultless(code)) return;
      work.missed(client, code);
      enter(
        "warning",
        `Refused an update of client ${client.slice(0, 8)} (${code}): ${message}.`,
        `refused ${code}`,
        (count) => `Refused ${count} updates (${code}): ${message}.`,
      );
    },
    doubted({ client, round, reason }) {
      enter(
        "warning",
        `Figures of client ${client.slice(0, 8)} are doubtful in round ${round}: ${sentenceEnd(reason)}`,
        `doubted ${round}`,
        (count) =>
          `${count} figures of clients are doubtful in round ${round}, the last one: ${sentenceEnd(reason)}`,
      );
    },
    statistics(record) {
      const [first, ...remarks] = statisticsInWords(record, channelNames);
      enter("good", first);
      for (const remark of remarks) enter("warning", remark);
    },
    threshold(taken) {
      enter(taken.record === undefined ? "warning" : "good", thresholdInWords(taken));
    },
    abandoned({ round, attempt, reason, phase }) {
      const name = phase === undefined ? "" : ` (${phase})`;
      enter(
        "warning",
        `Round ${round}, attempt ${attempt}${name} was abandoned: ${sentenceEnd(reason)}`,
      );
    },
    round(record, timings) {
      learn(record.round, {
        ...shortFigures({ rounds: record, timings }),
        receivedBytes: traffic.received - seen.received,
        sentBytes: traffic.sent - seen.sent,
      });
      seen = { ...traffic };
      enter(
        "good",
        `Round ${record.round} is committed: ${plural(record.participants.length, "update")} in ${timings.seconds.toFixed(1)} s.`,
      );
    },
    evaluation(record) {
      learn(record.round, shortFigures({ evaluations: record }));
    },
  };
}

/** A reason as the end of a sentence: others may have ended it themselves. */
const sentenceEnd = (reason: string) => (reason.endsWith(".") ? reason : `${reason}.`);

export const plural = (count: number, noun: string) => `${count} ${noun}${count === 1 ? "" : "s"}`;
