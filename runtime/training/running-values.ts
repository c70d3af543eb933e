import { float32 } from "../codecs/float32.js";
import type { UpdateForm } from "../codecs/codec.js";
import type { Shares } from "../models/shares.js";
import type { Layout, Vector } from "../tensors/layout.js";
import type { RoundSettings } from "./local-round.js";

// How batchNorm's running values travel where the run averages them: behind the codec's bytes of an
// update, as values and not as differences, so that the mean of stale ones too is no less than zero.

const NAME = "statistics";

/** The form of running values in an update. */
export interface RunningValuesForm {
  readonly bytes: number;
  readonly size: number;
  encode(statistics: Vector): Uint8Array<ArrayBuffer>;
  /** @throws ModelError `layout` where the bytes are no such values */
  decode(bytes: Uint8Array): Vector;
}

/** The running values that a run averages, if it does. */
export const averagedIn = (
  { statistics: { layout } }: Shares,
  { batchNorm }: Pick<RoundSettings, "batchNorm">,
): Layout | undefined => (batchNorm === "average" && layout.size > 0 ? layout : undefined);

export function runningValuesForm(layout: Layout): RunningValuesForm {
  const form: UpdateForm = float32.form(layout, [NAME]);
  return {
    bytes: form.bytes,
    size: layout.size,
    encode: (statistics) => form.encode({ [NAME]: statistics }),
    decode: (bytes) => form.decode(bytes)[NAME],
  };
}
