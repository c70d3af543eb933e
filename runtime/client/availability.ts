import { DataError } from "../errors.js";
import { expectedBy } from "../models/model.js";
import type { BlobName } from "../protocol/fields.js";
import type { ClientOptions } from "./options.js";
import type { Participation } from "./context.js";

/** Whether the host lets the device train now; else why not. */
export function availabilityOf({ available }: ClientOptions): true | string {
  try {
    return available?.() ?? true;
  } catch (error) {
    return `available() threw ${String(error)}`.slice(0, 1000);
  }
}

/** Tells the aggregator, should it have changed, whether the client can be given work. */
export function checkAvailability({ fits, connection, options }: Participation): void {
  if (fits instanceof DataError) connection.available(fits.message.slice(0, 1024), "data");
  else connection.available(fits && availabilityOf(options));
}

/**
 * Makes sure, before the client says that it is ready, that examples which never change fit the
 * model: those that do not are reported once, and are not tried.
 */
export async function checkExamples(
  part: Participation,
  blob: BlobName | null,
  round: number,
): Promise<void> {
  const { check } = part.examples;
  if (part.checking) return;
  try {
    if (part.fits !== undefined || check === undefined || blob === null) return;
    part.checking = true;
    const card = await part.models.card(blob);
    const { dataset } = check(expectedBy(card));
    // Before the first round it may be about to be normalised.
    if (round > 1) part.noteScale(dataset, card);
  } catch (error) {
    // What is wrong with the model is reported when there is an assignment to decline.
    if (error instanceof DataError) misfit(part, error);
  } finally {
    part.checking = false;
    part.fits ??= true;
    checkAvailability(part);
  }
}

/** The examples do not fit the run's model. */
export function misfit(part: Participation, error: DataError): void {
  part.fits = error;
  part.events.problem(error);
  checkAvailability(part);
}
