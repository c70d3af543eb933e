import { openKeyRing, tokenId } from "../aggregator/sessions/enrolment.js";
import type { SettingsOf } from "./settings.js";
import { openView } from "./view.js";

/** `fedflat enroll`: a token with which one client enrols its key, on standard output. */
export async function enroll({
  keys: folder,
  label,
  valid,
  json,
}: SettingsOf<"enroll">): Promise<void> {
  const keys = await openKeyRing(folder!);
  const token = await keys.issue(label, 3600 * valid);
  const facts = { token, id: tokenId(token), label, validHours: valid };
  openView(json).say("token", facts, token);
}
