import type { SecurePhase } from "../../aggregator/rounds/participants.js";
import { add, type Activity, type Figure, type Recording } from "./recording.js";

/** What one client adds to the recording of its fleet. */
export class Recorder {
  readonly #recording: Recording;
  #activity: Activity | undefined;

  constructor(recording: Recording) {
    this.#recording = recording;
  }

  /** What the client is at from now on; nothing when it has left. */
  is(activity: Activity | undefined): void {
    const { states } = this.#recording;
    if (this.#activity !== undefined) states[this.#activity]--;
    if (activity !== undefined) states[activity]++;
    this.#activity = activity;
  }

  /** Something began at `since` and is done now. */
  took(figure: Figure, since: number): void {
    this.#recording.samples[figure].push(performance.now() - since);
  }

  /** A round is committed. */
  round(round: number): void {
    if (round <= this.#recording.round) return;
    this.#recording.round = round;
    this.#recording.rounds++;
  }

  /** An update, whose assignment came at `since`, is in the model. */
  counted(bytes: number, since: number): void {
    this.#recording.counted++;
    this.#recording.countedBytes += bytes;
    this.took("roundTrip", since);
  }

  /** A question of a secure round was answered; a masked update is more than its answer. */
  answered(phase: SecurePhase, question: unknown, answer: unknown, more = 0): void {
    const traffic = this.#recording.phases[phase];
    traffic.answers++;
    traffic.down += JSON.stringify(question).length;
    traffic.up += JSON.stringify(answer).length + more;
  }

  error(kind: string): void {
    add(this.#recording.errors, kind);
  }
}
