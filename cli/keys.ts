import { openKeyRing } from "../aggregator/sessions/enrolment.js";
import { ConfigError } from "../runtime/errors.js";
import type { SettingsOf } from "./settings.js";
import { openView } from "./view.js";

/**
 * `fedflat keys list` and `fedflat keys revoke`. A server on the same folder sees a change at once.
 */
export async function keys({
  keys: folder,
  action,
  client,
  json,
}: SettingsOf<"keys">): Promise<void> {
  const ring = await openKeyRing(folder!);
  const view = openView(json);
  if (action === "revoke") {
    if (client === undefined)
      throw new ConfigError("usage", `"revoke" expected --client beside it`);
    await ring.revoke(client);
    return view.say("revoked", { client }, `Revoked ${client}.`);
  }
  for (const entry of await ring.list())
    view.say(
      "key",
      { ...entry },
      `${entry.client} ${entry.state}${entry.label && ` ${entry.label}`}`,
    );
}
