import { join } from "node:path";
import { headlineIn } from "../aggregator/run/evaluation-record.js";
import { spreadOf, type Spread } from "../aggregator/run/spread.js";
import { spreadText } from "../aggregator/run/summary.js";
import { ConfigError } from "../runtime/errors.js";
import type { FederatedClient, PersonaliseOptions } from "../runtime/client.js";
import {
  METRICS,
  metricReader,
  metricText,
  type MetricReader,
} from "../runtime/models/metrics/built-in.js";
import { readCard } from "../runtime/models/model.js";
import type { SettingsOf } from "./settings.js";
import { inSentence, type View } from "./view.js";
import { writeJson } from "./write.js";

/** What `--personalise` asks for; nothing where it is not given. @throws ConfigError `usage` */
export function personaliseOptions({
  personalise: epochs,
  personaliseRate: learningRate,
}: SettingsOf<"join"> | SettingsOf<"simulate">): PersonaliseOptions | undefined {
  const wrong = (expected: string) =>
    new ConfigError("usage", `"--personalise-rate" expected ${expected}, got ${learningRate}`);
  if (learningRate === 0) throw wrong("more than 0");
  if (epochs !== undefined) return { epochs, learningRate };
  if (learningRate !== undefined) throw wrong("--personalise beside it");
  return undefined;
}

/** `personal.json`: how good the last model and the personal ones are on clients' own hold-outs. */
interface PersonalFile {
  readonly global: Spread;
  readonly personal: Spread;
}

/** Has all clients of a simulation personalise its last model, and says and keeps what that changes. */
export async function personaliseAll(
  clients: readonly FederatedClient[],
  options: PersonaliseOptions,
  last: Uint8Array,
  folder: string,
  view: View,
): Promise<void> {
  const reader = metricReader(readCard(last));
  const results = await Promise.all(clients.map((client) => client.personalise(options)));
  const [global, personal] = (["global", "personal"] as const).map((which) =>
    spreadOf(
      results.flatMap(({ [which]: one }) => (one && headlineIn(reader, one)) ?? []),
      METRICS[reader.headline].better,
    ),
  );
  if (global === undefined || personal === undefined) return;
  await writeJson(join(folder, "personal.json"), { global, personal } satisfies PersonalFile);
  const text = (spread: Spread) => spreadText(reader.headline, spread);
  view.say(
    "personalised",
    { global, personal },
    `${METRICS[reader.headline].title} on the clients' own hold-outs, with the last model: ${text(global)}; personalised: ${text(personal)}.`,
  );
}

/** Personalises the last model of a run, and says what that changes. */
export async function personaliseOne(
  client: FederatedClient,
  options: PersonaliseOptions,
  reader: MetricReader,
): Promise<{ readonly global?: number; readonly personal?: number; readonly sentence: string }> {
  const result = await client.personalise(options);
  const [global, personal] = [result.global, result.personal].map(
    (one) => one && headlineIn(reader, one),
  );
  const text = (value: number | undefined) => metricText(reader.headline, value);
  return {
    ...{ global, personal },
    sentence: `On ${result.global?.count ?? 0} examples held out, ${inSentence(reader.headline)} is ${text(global)} with the last model and ${text(personal)} with the personal one.`,
  };
}
