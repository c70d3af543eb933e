import type { Admission } from "../sessions/authentication.js";
import type { Sessions } from "../sessions/open-sessions.js";
import type { Client } from "../clients/clients.js";
import type { RunBase, RunContext } from "./context.js";
import type { Registry } from "./registry.js";

/** How often sessions and uploads are checked, in milliseconds. */
const BEAT = 1000;

/**
 * Checks now and then what no message announces: silent connections, stalled uploads, clients that
 * have been away for long, and revoked keys. Returns what stops it.
 */
export function startUpkeep(
  { definition, log, tell, uploads, roster }: RunBase & Pick<RunContext, "uploads" | "roster">,
  options: {
    readonly admission: Admission;
    readonly clients: Map<string, Client>;
    readonly sessions: Pick<Sessions, "beat">;
    readonly registry: Pick<Registry, "forgettable" | "dropRevoked">;
  },
): () => void {
  const { admission, clients, sessions, registry } = options;
  const every = Math.min(BEAT, definition.settings.heartbeat / 2);
  let last = performance.now();

  function forget(away: readonly Client[]): void {
    for (const { id } of away) {
      clients.delete(id);
      log.info({ client: id.slice(0, 32) }, "a client that was away for long is forgotten");
      tell("client", { client: id, change: "forgotten" });
    }
    if (away.length > 0) roster.changed();
  }

  const timer = setInterval(() => {
    const now = performance.now();
    // Late by more than one interval: the process was stopped, or its machine slept.
    const late = now - last - every;
    sessions.beat(now, late > every ? late : 0);
    last = now;
    uploads.sweep(now);
    forget(registry.forgettable(now));
    if (admission.kind === "enrolled") void registry.dropRevoked(admission.keys);
  }, every);
  return () => clearInterval(timer);
}
