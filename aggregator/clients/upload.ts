import type { Receiving } from "../../runtime/protocol/transfer.js";
import type { Session } from "../sessions/session.js";

export interface OfferedUpdate {
  readonly assignment: string;
  readonly sha256: string;
  readonly bytes: number;
  /** When it is of no use any more, in the time of `performance.now()`. */
  readonly due: number;
}

/** An update on its way in. */
export interface Upload extends OfferedUpdate {
  /** The session to send `grant` on; none while the client is away. */
  session: Session | undefined;
  /** Its part of the budget, from the grant on. */
  buffer: Uint8Array | undefined;
  /** Bytes received. */
  held: number;
  receiving: Receiving | undefined;
  /** All bytes have been handed on. */
  whole: boolean;
  /** When the measurement of its pace began, and the bytes received by then. */
  measured: number;
  measuredAt: number;
  /** Bytes a second, over the last `stall` ms that were measured; undefined before that. */
  pace: number | undefined;
}

export const newUpload = (offered: OfferedUpdate): Upload => ({
  ...offered,
  session: undefined,
  buffer: undefined,
  held: 0,
  receiving: undefined,
  whole: false,
  measured: 0,
  measuredAt: 0,
  pace: undefined,
});

/** Measures the pace of an upload, once in `stall` milliseconds. */
export function measure(upload: Upload, stall: number, now: number): void {
  const time = now - upload.measuredAt;
  if (time < stall) return;
  upload.pace = (1000 * (upload.held - upload.measured)) / time;
  upload.measured = upload.held;
  upload.measuredAt = now;
}
