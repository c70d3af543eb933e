import type { Arrived, ClientHalf, NamedVectors } from "../algorithms/algorithm.js";
import { onGrid } from "../algorithms/vectors.js";
import { codecNamed, codecSettings, DEFAULT_CODEC } from "../codecs/built-in.js";
import type { UpdateForm } from "../codecs/codec.js";
import type { Layout } from "../tensors/layout.js";

/** What a run's updates are sent in: the codec's name, and those of its numbers that are given. */
export interface CodecChoice {
  readonly codec: string;
  readonly codecSettings: Readonly<Record<string, number>>;
}

/**
 * The form of an algorithm's updates. Vectors that follow from others are left out by every codec but float32.
 * @throws ModelError `codec`, `codec-settings`
 */
export function updateForm(
  { sends, follows = {} }: ClientHalf,
  { codec: name, codecSettings: given }: CodecChoice,
  layout: Layout,
): UpdateForm {
  const codec = codecNamed(name);
  const sent =
    name === DEFAULT_CODEC ? sends : sends.filter((vector) => !Object.hasOwn(follows, vector));
  return codec.form(layout, sent, codecSettings(codec, given));
}

/**
 * The whole update, to the bit the same at both ends: the vectors that arrived, and those that
 * follow from them, on the round's grid.
 */
export function whole(
  { sends, follows = {} }: ClientHalf,
  arrived: NamedVectors,
  round: Omit<Arrived, "delta">,
  grid: number | undefined,
): NamedVectors {
  return Object.fromEntries(
    sends.map((name) => {
      const vector = arrived[name] ?? follows[name]({ ...round, delta: arrived.delta });
      return [name, name in arrived || grid === undefined ? vector : onGrid(vector, grid)];
    }),
  );
}

/** K, the steps of a local round. */
export const stepsOf = (
  { localEpochs, batchSize }: { readonly localEpochs: number; readonly batchSize: number },
  samples: number,
): number => localEpochs * Math.ceil(samples / batchSize);

/** n_k / mean(n); 1 where no mean is known. */
export const shareOf = (samples: number, meanSamples: number): number =>
  samples / (meanSamples || samples);

/** The name of a piece of work, by which its places are drawn. */
export const workName = (run: string, round: number, attempt: number): string =>
  `${run}/round-${round}/attempt-${attempt}`;
