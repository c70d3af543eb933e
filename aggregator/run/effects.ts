import type { Attempts } from "./attempts.js";
import { commitRound, type CommitContext } from "./commit.js";
import type { RunContext } from "./context.js";
import type { Asked } from "./driver.js";
import type { RunEnd } from "./ending.js";
import type { Leaf } from "./leaf/leaf.js";
import type { Registry } from "./registry.js";
import type { Work } from "../rounds/participants.js";
import type { SecurePhases } from "./secure-phases.js";
import type { StatisticsPhase } from "./statistics.js";

/** Carries out what an engine asks for; each effect is the work of one other file. */
export function effectRunner(
  context: CommitContext & Pick<RunContext, "clientOf">,
  run: {
    readonly attempts: Attempts;
    readonly leaf: Pick<Leaf, "committed">;
    readonly statistics: StatisticsPhase;
    readonly secure: Pick<SecurePhases, "enter" | "ask" | "end">;
    readonly registry: Pick<Registry, "sendWait">;
    readonly end: Pick<RunEnd, "finished" | "stopped">;
  },
): (effect: Asked) => void {
  const { attempts, leaf, statistics, secure, registry, end } = run;
  const partOf = ({ phase }: Pick<Work, "phase">) => (phase === undefined ? attempts : statistics);
  return (effect) => {
    switch (effect.type) {
      case "begin":
        return void partOf(effect.open).begin(effect.open);
      case "assign":
        return partOf(effect.work).assign(effect.client, effect.work, effect.lease);
      case "seal":
        return void partOf(effect.open).seal(effect.open, effect.least);
      case "late":
        return partOf(effect.work).late(effect.client, effect.work, effect.code);
      case "enter":
        return secure.enter(effect);
      case "ask":
        return secure.ask(effect.client, effect.work);
      case "close":
        secure.end();
        if (effect.open.phase !== undefined) return void statistics.close();
        return void commitRound(context, attempts, leaf, effect);
      case "abandon":
        secure.end();
        for (const { client } of partOf(effect.open).abandon(effect.open, effect.reason))
          setImmediate(() => registry.sendWait(context.clientOf(client)));
        return;
      case "without":
        return statistics.without();
      case "finished":
        return void end.finished();
      case "stopped":
        return end.stopped(effect.reason, effect.failed);
    }
  };
}
