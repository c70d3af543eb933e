import type { OutgoingClientMessage } from "../protocol/client-messages.js";
import { release } from "../tensors/memory.js";
import type { Participation } from "./context.js";

/** Offers an update; the connection repeats that until it is settled. */
export function offer(
  { offered, connection }: Participation,
  message: Extract<OutgoingClientMessage, { type: "offer" }>,
  update: Uint8Array,
): void {
  offered.set(message.assignment, update);
  connection.offer(message, (offset, length) => update.subarray(offset, offset + length));
}

/** Offers what an earlier life of this client finished and this one has not offered yet. */
export async function offerPending(part: Participation): Promise<void> {
  const { offered } = part;
  const { records } = part.session!;
  for (const { offer: message } of records.record.pending) {
    const { assignment } = message;
    if (offered.has(assignment)) continue;
    offered.set(assignment, undefined);
    const update = await records.update(assignment);
    // None where it has been settled meanwhile.
    if (update !== undefined) offer(part, message, update);
  }
}

/** Gives the memory of an offer back that is settled. */
export function forgetOffer({ offered }: Participation, assignment: string): void {
  const update = offered.get(assignment);
  offered.delete(assignment);
  if (update !== undefined) release(update.buffer);
}
