import type { Algorithm } from "../../runtime/algorithms/algorithm.js";
import { algorithmNamed, algorithmSettings, BUILT_IN } from "../../runtime/algorithms/built-in.js";
import { codecNamed, codecSettings, DEFAULT_CODEC } from "../../runtime/codecs/built-in.js";
import { ConfigError, ModelError } from "../../runtime/errors.js";
import { metricReader, type MetricReader } from "../../runtime/models/metrics/built-in.js";
import { BASE, writeBase } from "../../runtime/models/base.js";
import { modelMetadata, type Model } from "../../runtime/models/model.js";
import { networkOf } from "../../runtime/models/network.js";
import type { Shares } from "../../runtime/models/shares.js";
import { LEAST_MEMBERS } from "../../runtime/secure/graph.js";
import type { Layout } from "../../runtime/tensors/layout.js";
import { updateForm } from "../../runtime/training/transmission.js";
import { averagedIn, runningValuesForm } from "../../runtime/training/running-values.js";
import { keepsSent } from "./client-state.js";
import { batchNormOf } from "./batch-norm.js";
import { requirePair } from "./codec-pairs.js";
import { blobOf } from "../aggregation/blob-of.js";
import { nameOf } from "../clients/assignments.js";
import type { Needs } from "../clients/clients.js";
import { combiningOf, type Combining } from "./combining.js";
import type { AggregatorOptions } from "./options.js";
import { privacyOf, type Privacy } from "./privacy.js";
import { mostSecure } from "../rounds/ring.js";
import { requireSecure } from "./secure.js";
import type { Blob } from "../storage/ledger.js";
import { readAggregatorSettings, type AggregatorSettings } from "../settings.js";

/** Bytes of an update from which it is large. */
const LARGE = 1024 * 1024;

/** What a run is, from its first round to its last. */
export interface RunDefinition {
  /** All of them, also those of the algorithm. */
  readonly settings: AggregatorSettings;
  readonly algorithm: Algorithm;
  /** It is code of the caller's own, and not one of the built-in ones. */
  readonly isOwn: boolean;
  /** Of what is trained and sent. */
  readonly layout: Layout;
  /** Of batchNorm's running values, where they are averaged. */
  readonly averaged: Layout | undefined;
  /** The rest of the model, which clients fetch once. */
  readonly base: Blob | undefined;
  /** Clients keep layers of their own: nobody else can say how good their models are. */
  readonly isPersonal: boolean;
  /** Shape of one example. */
  readonly input: readonly number[];
  /** Of the first model's blob: description, normalisation, class names. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Reads what the model's task is judged by. */
  readonly metrics: MetricReader;
  /** Vectors of an update are computed here, and not sent. */
  readonly follows: boolean;
  /** Length of each update. */
  readonly updateBytes: number;
  /** That is so much that what a round leaves behind is worth a full collection. */
  readonly isLarge: boolean;
  /** Activation norms that a client measures: one for each rectified layer, and the logits'. */
  readonly norms: number;
  /** How updates become one. */
  readonly combining: Combining;
  /** Where the run is to be differentially private. */
  readonly privacy: Privacy | undefined;
  /** Why the run has fewer rounds than were asked for, in half a sentence. */
  readonly endsEarly?: string;
  /** What it needs of a client. */
  readonly needs: Needs;
  /** Numbers in a target, which those statistics cover too; 0 for none. */
  readonly targets: number;
  /** Clients are asked for statistics before the first round, by which inputs are normalised. */
  readonly takesStatistics: boolean;
}

/**
 * @throws ConfigError `settings`, `nothing-shared`, `client-state` (of an algorithm with a clip or in buffered
 * rounds), `codec-pair`, `normalisation` (asked for beside a model that brings one), ModelError
 * `unknown-algorithm`, `algorithm-settings`, `codec`, `codec-settings`.
 */
export function definitionOf({
  model,
  settings: given = {},
  algorithm: own,
}: AggregatorOptions): RunDefinition {
  const asked = readAggregatorSettings(given);
  if (asked.learningRate === 0)
    throw new ConfigError("settings", `"learningRate" expected more than 0, got 0`);
  const algorithm = own ?? algorithmNamed(asked.algorithm, []);
  const codec = codecNamed(asked.codec);
  const takes = takesStatistics(asked, model);
  const privacy = privacyOf(asked, algorithm, codec, takes);
  const settings = {
    ...asked,
    ...privacy?.settings,
    ...(asked.secure && { minimum: Math.max(LEAST_MEMBERS, asked.minimum) }),
  };
  const { name, client } = algorithm;
  const all = algorithmSettings(algorithm, settings.algorithmSettings);
  const isOwn = own !== undefined && !BUILT_IN.includes(own);
  // Coefficients, radii and rates: of ours none has a meaning below zero.
  const negative = Object.entries(all).find(([, value]) => value < 0);
  if (negative !== undefined && !isOwn)
    throw new ModelError(
      "algorithm-settings",
      `"${negative[0]}" expected 0 or more for ${name}, got ${negative[1]}`,
    );
  if (settings.clipUpdateNorm > 0 && keepsSent(client))
    throw new ConfigError(
      "client-state",
      `"clipUpdateNorm" expected an algorithm whose clients keep no state, got ${name}, whose clients would keep what is clipped here`,
    );
  // The state follows from one model to the next, and an update from an older one would not fit it.
  if (settings.mode === "buffered" && client.state.length > 0)
    throw new ConfigError(
      "client-state",
      `"mode" expected synchronous for ${name}, whose clients keep a state from round to round, got buffered`,
    );
  const { layers, loss, shares } = networkOf(model.description);
  const both = model.description.layers.findIndex((layer) => layer.frozen && layer.personal);
  if (both >= 0)
    throw new ConfigError(
      "settings",
      `"model" expected layers that are frozen or personal, got layer ${both} that is both`,
    );
  const { layout } = shares.shared;
  if (layout.size === 0)
    throw new ConfigError(
      "nothing-shared",
      `"model" expected a layer that is trained and sent, got frozen and personal ones only`,
    );
  if (settings.headEpochs !== undefined && shares.personal.layout.size === 0)
    throw new ConfigError(
      "settings",
      `"headEpochs" expected a model with personal layers, got none that is`,
    );
  const batchNorm = batchNormOf(settings, model);
  const averaged = averagedIn(shares, { batchNorm });
  requireSecure(settings, algorithm, { takesStatistics: takes, averages: averaged !== undefined });
  if (settings.threshold !== undefined && loss.task !== "input")
    throw new ConfigError(
      "threshold",
      `"threshold" expected a model whose target is the input, got one of another task`,
    );
  if (settings.threshold !== undefined && privacy !== undefined)
    throw new ConfigError(
      "threshold",
      `"threshold" expected a run without differential privacy, whose budget knows nothing of clients' errors`,
    );
  const tapped = layers.filter(({ tap }) => tap !== undefined);
  const numbers = codecSettings(codec, settings.codecSettings);
  requirePair(algorithm, all, codec, numbers);
  const choice = { codec: codec.name, codecSettings: numbers };
  const updateBytes = settings.secure
    ? 4 * layout.size * client.sends.length
    : updateForm(client, choice, layout).bytes +
      (averaged === undefined ? 0 : runningValuesForm(averaged).bytes);
  const base = baseOf(model);
  return {
    settings: { ...settings, ...choice, batchNorm, algorithm: name, algorithmSettings: all },
    algorithm,
    isOwn,
    layout,
    averaged,
    base,
    isPersonal: isPersonal(shares, batchNorm),
    input: model.description.input,
    metadata: { ...modelMetadata(model), ...(base && { [BASE]: JSON.stringify(nameOf(base)) }) },
    metrics: metricReader(model),
    follows: codec.name !== DEFAULT_CODEC && client.follows !== undefined,
    updateBytes,
    isLarge: updateBytes > LARGE,
    combining: withSums(
      combiningOf(settings, algorithm, codec, 4 * layout.size * client.sends.length),
      privacy,
      settings,
    ),
    privacy,
    norms: tapped.length + (settings.manIncludesLogits ? 1 : 0),
    needs: {
      algorithm: name,
      layers: new Set(model.description.layers.map(({ type }) => type)),
      codec: codec.name,
      secure: settings.secure,
    },
    targets: loss.task === "numbers" && model.targets === undefined ? loss.target.size : 0,
    takesStatistics: takes,
  };
}

/** Whether clients keep layers, or running values, of their own. */
export const isPersonal = (
  { personal }: Shares,
  batchNorm: AggregatorSettings["batchNorm"],
): boolean => personal.layout.size > 0 || batchNorm === "local";

function baseOf(model: Model): Blob | undefined {
  const bytes = writeBase(model);
  return bytes && blobOf(bytes);
}

/**
 * A private sum has a round's updates in it up to the number that it is divided by, and a secure
 * one those of as many clients as have masks in common.
 */
const withSums = (
  combining: Combining,
  privacy: Privacy | undefined,
  settings: AggregatorSettings,
): Combining => ({
  ...combining,
  ...(privacy && {
    rule: { ...combining.rule, protection: privacy.protection },
    most: privacy.protection.divisor,
  }),
  ...(settings.secure && { least: LEAST_MEMBERS, most: mostSecure(settings) }),
});

/**
 * Whether clients are asked for statistics of their inputs. Where the settings do not say, they are
 * for tables and series, whose channels may have any scale. Images are bytes, and the model brings
 * what is known of them.
 * @throws ConfigError `normalisation`
 */
function takesStatistics({ normalise }: AggregatorSettings, model: Model): boolean {
  const { input, layers } = model.description;
  if (normalise === "channels" && model.normalisation !== undefined)
    throw new ConfigError(
      "normalisation",
      `"normalise" expected none beside a model that brings its normalisation, got channels`,
    );
  if (normalise !== undefined) return normalise === "channels";
  const areTokens = layers.some(({ type }) => type === "embedding");
  return model.normalisation === undefined && input.length <= 2 && !areTokens;
}
