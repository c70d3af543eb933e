import { openKeyRing } from "../aggregator/sessions/enrolment.js";
import { ConfigError } from "../runtime/errors.js";
import type { SettingsOf } from "./settings.js";
import { openView } from "./view.js";

/**
 * `fedflat keys list` and `fedflat keys revoke`: keys of clients, and tokens that nobody has used
 * yet. A server on the same folder sees a change at once.
 */
export async function keys({
  keys: folder,
  action,
  client,
  unusedToken,
  json,
}: SettingsOf<"keys">): Promise<void> {
  const ring = await openKeyRing(folder!, { mustExist: true });
  const view = openView(json);
  if (action === "revoke") {
    if ((client === undefined) === (unusedToken === undefined))
      throw new ConfigError("usage", `"revoke" expected --client or --token beside it`);
    if (client !== undefined) {
      await ring.revoke(client);
      return view.say("revoked", { client }, `Revoked ${client}.`);
    }
    await ring.revokeToken(unusedToken!);
    return view.say("revoked", { token: unusedToken }, `Revoked the token ${unusedToken}.`);
  }
  const [enrolments, tokens] = [await ring.list(), await ring.tokens()];
  for (const entry of enrolments)
    view.say(
      "key",
      { ...entry },
      `${entry.client} ${entry.state}${entry.label && ` ${entry.label}`}`,
    );
  for (const { id, label, expires } of tokens) {
    const until = Number.isFinite(expires) ? new Date(expires).toISOString() : "an unknown time";
    const state = expires > Date.now() ? "good until" : "too old since";
    view.say(
      "token",
      { token: id, label, expires: until },
      `${id} unused token, ${state} ${until}${label && ` ${label}`}`,
    );
  }
  if (enrolments.length + tokens.length === 0)
    view.say(
      "empty",
      { keys: folder },
      `No key and no token in ${folder} yet: fedflat enroll --keys ${folder} makes a token.`,
    );
}
