import type { ClientHalf, NamedVectors } from "../../runtime/algorithms/algorithm.js";
import type { UpdateForm } from "../../runtime/codecs/codec.js";
import { readBlob, type Vectors } from "../../runtime/tensors/blob.js";
import type { Layout } from "../../runtime/tensors/layout.js";
import { shareOf, stepsOf, whole } from "../../runtime/training/transmission.js";

/** What is known of an update beside its bytes. */
export interface AboutUpdate {
  /** The name of its work, as `workName` makes it. */
  readonly work: string;
  /** That its client says it was trained on. */
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
}

/** An update that has arrived whole. */
export interface Kept {
  readonly sha256: string;
  readonly bytes: Uint8Array;
  readonly about: AboutUpdate;
}

/** How the round is trained, with what its clients received beside the model. */
type Round = Omit<Following, "model"> & { readonly received: NamedVectors };

export const followingIn = (
  { model, ...rest }: Following,
  layout: Layout,
  receives: readonly string[],
): Round => ({ ...rest, received: readBlob(model, layout, receives) });

/** Pieces of work whose drawn places are remembered: those of one round, or of buffered ones. */
const MOST_DRAWN = 8;

/** Makes of an update's bytes what its client made of them: the vectors sent, and those that follow. */
export function readArrivals(client: ClientHalf, form: UpdateForm) {
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
    async reader({ bytes, about: { work, samples } }: Kept): Promise<() => Vectors> {
      const places = await placesOf(work);
      return () => {
        const arrived = form.decode(bytes, { grid, drawn: places });
        if (round === undefined) return arrived;
        const share = shareOf(samples, round.meanSamples);
        return whole(client, arrived, { ...round, share, steps: stepsOf(round, samples) }, grid);
      };
    },
  };
}
