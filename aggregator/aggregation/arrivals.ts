import type { ClientHalf, NamedVectors } from "../../runtime/algorithms/algorithm.js";
import type { Blocks, Decoding, UpdateForm } from "../../runtime/codecs/codec.js";
import { wholeModel } from "../../runtime/codecs/parts/model-blob.js";
import { readBlob } from "../../runtime/tensors/blob.js";
import type { Layout } from "../../runtime/tensors/layout.js";
import type { ArrivedVector } from "./numbers.js";
import { shareOf, stepsOf, whole } from "../../runtime/training/transmission.js";

/** What is known of an update beside its bytes. */
export interface AboutUpdate {
  /** The name of its work, as `workName` makes it. */
  readonly work: string;
  /** It was trained from the model of halves. */
  readonly fromHalf: boolean;
  /** Samples that its client says it was trained on. */
  readonly samples: number;
}

/** How a round is trained: vectors that clients do not send follow from that. */
export interface Following {
  readonly learningRate: number;
  readonly initialLearningRate: number;
  readonly localEpochs: number;
  readonly batchSize: number;
  readonly meanSamples: number;
  /** The model that the clients were given, as a blob. */
  readonly model: Uint8Array;
  /** The model of halves, that others were given. */
  readonly half: Uint8Array | undefined;
}

/** An update that has arrived whole. */
export interface Kept {
  readonly sha256: string;
  readonly bytes: Uint8Array;
  readonly about: AboutUpdate;
}

/** How the round is trained, with what its clients received beside the model. */
type Round = Omit<Following, "model" | "half"> & {
  readonly received: NamedVectors;
  readonly receivedAsHalves: NamedVectors;
};

export const followingIn = (
  { model, half = model, ...rest }: Following,
  layout: Layout,
  receives: readonly string[],
): Round => ({
  ...rest,
  received: readBlob(model, layout, receives),
  receivedAsHalves: readBlob(wholeModel(half.slice()), layout, receives),
});

/** Pieces of work whose drawn places are remembered: those of one round, or of buffered ones. */
const MOST_DRAWN = 8;

/**
 * Decodes an update's bytes as its client did: the vectors sent, and those that follow from them.
 */
export function readArrivals(
  client: ClientHalf,
  form: UpdateForm,
  /** Reads them as blocks of bytes, where the codec has such and nothing follows. */
  inBlocks?: (bytes: Uint8Array, round: Decoding) => Record<string, Blocks>,
) {
  const drawn = new Map<string, Promise<Uint32Array>>();
  let grid: number | undefined;
  let round: Round | undefined;

  function placesOf(work: string): Promise<Uint32Array> | undefined {
    const known = drawn.get(work) ?? form.draw?.(work);
    if (known === undefined) return undefined;
    drawn.delete(work);
    drawn.set(work, known);
    for (const old of drawn.keys()) if (drawn.size > MOST_DRAWN) drawn.delete(old);
    return known;
  }

  return {
    begin(roundsGrid: number | undefined, trained: Round | undefined): void {
      grid = roundsGrid;
      round = trained;
    },
    /** What reads the update. @throws ModelError `layout` */
    async reader({
      bytes,
      about: { work, samples, fromHalf },
    }: Kept): Promise<() => Readonly<Record<string, ArrivedVector>>> {
      const places = await placesOf(work);
      return () => {
        if (round === undefined && inBlocks !== undefined) return inBlocks(bytes, { grid });
        const arrived = form.decode(bytes, { grid, drawn: places });
        if (round === undefined) return arrived;
        const share = shareOf(samples, round.meanSamples);
        const steps = stepsOf(round, samples);
        const received = fromHalf ? round.receivedAsHalves : round.received;
        return whole(client, arrived, { ...round, received, share, steps }, grid);
      };
    },
  };
}
