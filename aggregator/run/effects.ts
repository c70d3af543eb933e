import type { Attempts } from "./attempts.js";
import { commitRound, type CommitContext } from "./commit.js";
import type { RunContext } from "./context.js";
import type { Asked } from "./driver.js";
import type { RunEnd } from "./ending.js";
import type { Folds } from "./folds.js";
import type { Registry } from "./registry.js";

/** Carries out what an engine asks for; each effect is the work of one other file. */
export function effectRunner(
  context: CommitContext & Pick<RunContext, "clientOf">,
  run: {
    readonly attempts: Attempts;
    readonly folds: Pick<Folds, "fold">;
    readonly registry: Pick<Registry, "sendWait">;
    readonly end: Pick<RunEnd, "finished" | "stopped">;
  },
): (effect: Asked) => void {
  const { attempts, folds, registry, end } = run;
  return (effect) => {
    switch (effect.type) {
      case "begin":
        return void attempts.begin(effect.open);
      case "assign":
        return attempts.assign(effect.client, effect.work, effect.lease);
      case "fold":
        return void folds.fold(attempts.given(effect.client, effect.work)!);
      case "late":
        return attempts.late(effect.client, effect.work, effect.code);
      case "close":
        return void commitRound(context, attempts, effect);
      case "abandon":
        for (const { client } of attempts.abandon(effect.open, effect.reason))
          setImmediate(() => registry.sendWait(context.clientOf(client)));
        return;
      case "finished":
        return void end.finished();
      case "stopped":
        return end.stopped(effect.reason, effect.failed);
    }
  };
}
