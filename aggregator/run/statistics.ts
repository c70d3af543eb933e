import { randomBytes } from "node:crypto";
import type { ClientMessageOf } from "../../runtime/protocol/client-messages.js";
import type { ModelCard } from "../../runtime/models/model.js";
import { endingInWords } from "../aggregation/validation.js";
import { assignmentId } from "../clients/assignments.js";
import { addTrouble, newAssignment, type Assignment, type Client } from "../clients/clients.js";
import {
  mergeStatistics,
  normalisationBy,
  scaleBy,
  type ClientStatistics,
} from "../clients/statistics.js";
import { wordsOf } from "../clients/troubles.js";
import type { Attempt } from "../rounds/engine.js";
import type { Work } from "../rounds/participants.js";
import type { Session } from "../sessions/session.js";
import type { Blob, StatisticsRecord } from "../storage/ledger.js";
import type { RunBase, RunContext, RunStorage } from "./context.js";
import { cardWith, modelWith } from "./model-card.js";

/** What inputs are divided by before they are measured: they are numbers, not bytes of images. */
const SCALE = 1;

type Answer = NonNullable<ClientMessageOf<"report">["statistics"]>;

/**
 * Statistics before the first round: clients are asked for them, and what they say becomes the
 * normalisation in the card of the model.
 */
export interface StatisticsPhase {
  /** What the run goes by, once it is there. */
  readonly record: StatisticsRecord | undefined;
  /** Opens an attempt at them: `begun`. */
  begin(open: Attempt): void;
  /** Asks a client. */
  assign(client: string, work: Work): void;
  /** A client answers: it is refused, or counted. */
  answered(client: Client, session: Session, assignment: Assignment, statistics: Answer): void;
  /** Counts no further answer where so many are counted: `gathered`, or `short`. */
  seal(attempt: Attempt, least: number): void;
  /** The client's answer does not count. */
  late(client: string, work: Work, code: "late" | "stale"): void;
  /** Makes one of the answers, writes it down and has the model bear it: `committed`. */
  close(): Promise<void>;
  /** The rounds begin without statistics, since too few clients can give them. */
  without(): void;
  /** Calls an attempt off. Returns the assignments that end with it. */
  abandon(open: Attempt, reason: string): readonly Assignment[];
}

export function openStatistics(
  context: RunBase &
    RunStorage &
    Pick<RunContext, "reducer" | "models" | "assignments" | "roster" | "folder">,
  options: {
    /** Taken before a restart. */
    readonly record: StatisticsRecord | undefined;
    /** When the deadline of the phase passes, in the time of `performance.now()`. */
    readonly due: () => number;
  },
): StatisticsPhase {
  const { definition, log, othersLog, send, tell, ledger, epoch } = context;
  const { withRetry, models, assignments, roster, folder } = context;
  const { settings, input, targets } = definition;
  const channels = input[input.length - 1];
  const key = randomBytes(32).toString("hex");
  const counted = new Map<string, ClientStatistics>();
  /** Answers are counted. */
  let open = false;
  let { record } = options;

  const idOf = (client: string, work: Work) => assignmentId(key, work, client);
  const given = (client: string, work: Work) => assignments.get(idOf(client, work));
  const asked = (client: string, work: Work) =>
    newAssignment(idOf(client, work), client, "statistics", work, models.current, {
      shape: input,
      scale: SCALE,
      targets,
    });

  return {
    get record() {
      return record;
    },

    begin({ round, attempt, selected, goal, phase }) {
      counted.clear();
      open = true;
      log.info({ attempt, selected: selected.length }, "clients are asked for statistics");
      tell("opened", { round, attempt, selected, goal, phase });
      send({ type: "begun" });
    },

    assign(client, work) {
      const before = given(client, work);
      const assignment =
        before !== undefined && before.ended === undefined
          ? before
          : { ...asked(client, work), due: options.due() };
      assignments.give(assignment);
    },

    answered(client, session, assignment, statistics) {
      const { id, work, ended } = assignment;
      if (ended !== undefined)
        return assignments.refuse(client, id, {
          code: ended,
          message: endingInWords(ended),
        });
      if (assignment.folded) return session.send({ type: "received", assignment: id });
      const message = wrongIn(statistics, channels, targets);
      if (message !== undefined) {
        const { reason, barred } = refuse(context, client, assignment, message);
        return send({ type: "refused", client: client.id, work, code: "other", reason, barred });
      }
      // It is told as soon as it is decided what becomes of the attempt.
      if (!open) return;
      counted.set(client.id, withTargets(statistics));
      assignment.folded = true;
      delete client.troubles.statistics;
      session.send({ type: "received", assignment: id });
      othersLog.info({ client: client.id.slice(0, 32) }, "a client has given statistics");
      assignments.free(assignment);
      send({ type: "admitted", client: client.id, work });
    },

    seal(_attempt, least) {
      open = counted.size < least;
      send({ type: open ? "short" : "gathered" });
    },

    late(client, work, code) {
      const assignment = given(client, work);
      if (assignment !== undefined) assignments.end(assignment, code);
    },

    async close() {
      const taken = recordOf(counted, settings.maxSamples, channels);
      await withRetry(async () => {
        await ledger.keepStatistics(epoch, taken);
        record = taken;
        const model = normalised(models.current, taken);
        models.keep(0, model, await context.reducer.forms(model.bytes));
        folder?.statistics(taken, models.whole(models.current));
        const { count, members, held } = taken;
        log.info({ clients: members.length, count, held: held.length }, "statistics are taken");
        tell("statistics", taken);
        send({ type: "committed" });
        // Those who could not give statistics may train.
        roster.changed();
      });
    },

    without() {
      const sentence =
        "Inputs are not normalised: too few clients can give statistics of theirs (--normalise channels waits for more)";
      log.warn({ phase: "statistics" }, sentence);
      tell("withoutStatistics", sentence);
      roster.changed();
    },

    abandon({ round, attempt, phase }, reason) {
      log.warn({ attempt }, `the attempt at statistics is abandoned: ${reason}`);
      tell("abandoned", { round, attempt, reason, phase });
      const ended = assignments.of({ round, attempt, phase });
      for (const assignment of ended) assignments.end(assignment, "abandoned");
      return ended;
    },
  };
}

/** Refuses an answer for what is wrong with it. */
function refuse(
  { roster, assignments }: Pick<RunContext, "roster" | "assignments">,
  client: Client,
  assignment: Assignment,
  message: string,
): { readonly reason: string; readonly barred: boolean } {
  const refusal = { code: "other", message };
  const trouble = addTrouble(client, "statistics", { what: "refused", ...refusal });
  const barred = trouble.until !== undefined;
  assignment.ended = refusal.code;
  // Before the round hears of it, so that the next attempt is not drawn from the roster before.
  if (barred) roster.tell();
  assignments.refuse(client, assignment.id, refusal);
  assignments.free(assignment);
  return { reason: wordsOf(trouble), barred };
}

/** What these statistics are in the card of a model. */
const inCard = (statistics: StatisticsRecord): Partial<ModelCard> => ({
  normalisation: normalisationBy(statistics),
  ...(statistics.targets && { targets: scaleBy(statistics.targets) }),
});

/** The metadata of a model's blob, with these statistics in the card. */
export const withStatistics = (
  metadata: Readonly<Record<string, string>>,
  statistics: StatisticsRecord,
): Readonly<Record<string, string>> => cardWith(metadata, inCard(statistics));

/** The same model whose card says what is done to inputs. */
export const normalised = (model: Blob, statistics: StatisticsRecord): Blob =>
  modelWith(model, inCard(statistics));

/** An answer with the targets' numbers behind those of the inputs. */
const withTargets = ({ count, mean, deviation, targetMean, targetDeviation }: Answer) => ({
  count,
  mean: [...mean, ...targetMean],
  deviation: [...deviation, ...targetDeviation],
});

function recordOf(
  answers: ReadonlyMap<string, ClientStatistics>,
  maxSamples: number | undefined,
  channels: number,
): StatisticsRecord {
  const { mean, deviation, ...merged } = mergeStatistics(answers, maxSamples);
  const part = (from: number, to?: number) => ({
    mean: mean.slice(from, to),
    deviation: deviation.slice(from, to),
  });
  return {
    ...merged,
    ...part(0, channels),
    ...(mean.length > channels && { targets: part(channels) }),
    scale: SCALE,
  };
}

/** What is wrong with an answer, if anything. */
function wrongIn(
  { mean, deviation, targetMean, targetDeviation }: Answer,
  channels: number,
  targets: number,
): string | undefined {
  const lists = { mean, deviation, targetMean, targetDeviation };
  for (const [name, { length }] of Object.entries(lists)) {
    const expected = name.startsWith("target") ? targets : channels;
    if (length !== expected)
      return `"statistics.${name}" expected ${expected} numbers, got ${length}`;
  }
  return undefined;
}
