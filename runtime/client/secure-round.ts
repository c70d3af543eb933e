import { FedflatError, ProtocolError } from "../errors.js";
import type { Identity } from "../platform/platform.js";
import type { OutgoingClientMessage } from "../protocol/client-messages.js";
import type { ServerMessageOf } from "../protocol/server-messages.js";
import { sha256 } from "../connection/hash.js";
import { participant, type Participant } from "../secure/participant.js";
import type { SecureAttempt } from "../secure/keys.js";
import { quantised, randomWords } from "../secure/quantise.js";
import { readTerms, type SecureTerms } from "../secure/terms.js";
import { errorOf } from "./events.js";
import { aboutOf, inBackground, type Participation, type SecureRound } from "./context.js";
import { forgetOffer, offer } from "./offers.js";

/** The terms of an assignment, with their text as it came. */
export interface Agreed {
  readonly text: string;
  readonly terms: SecureTerms;
}

type Assign = ServerMessageOf<"assign">;
type Offer = Extract<OutgoingClientMessage, { readonly type: "offer" }>;
export type PhaseQuestion = ServerMessageOf<"keys" | "shares" | "masked" | "verify" | "unmask">;

/**
 * The terms of an assignment; nothing where its round is not secure.
 * @throws ProtocolError `terms`
 */
export function agreedIn({ settings, model }: Assign): Agreed | undefined {
  const { secure: text } = settings;
  if (typeof text !== "string") return undefined;
  const terms = readTerms(text);
  if (terms.model !== model.sha256)
    throw new FedflatError("terms", `"secure" expected terms for the assignment's model`);
  return { text, terms };
}

/**
 * Says that training is done, with what nothing of the update can be told by, and answers from now
 * on what the round's phases ask for. An attempt is entered once: its secrets are in memory alone.
 * @param vectors the update, end to end
 */
export async function enterSecure(
  participation: Participation,
  assign: Assign,
  { text, terms }: Agreed,
  vectors: Float32Array,
  samples: number,
): Promise<void> {
  const { identity, connection, options, session } = participation;
  const { assignment, round, attempt } = assign;
  await session!.records.enter(`${round}/${attempt}`);
  leaveSecure(participation);
  const least = Math.max(terms.clients, options.secureOnly ?? 0);
  const of = { run: session!.run, round, attempt };
  participation.secure = {
    about: aboutOf(assign),
    ...hidden(of, { text, terms }, vectors, samples, { identity, least }),
  };
  connection.tell({ type: "trained", assignment });
}

/** An update in whole steps, with its weight, in the hands of who will mask it. */
export function hidden(
  attempt: SecureAttempt,
  { text, terms }: Agreed,
  vectors: Float32Array,
  samples: number,
  { identity, least }: { readonly identity: Identity; readonly least: number },
): { readonly part: Participant; readonly weight: number } {
  const weight = Math.min(samples, terms.maxWeight);
  const update = quantised(vectors, weight, terms, randomWords(vectors.length));
  const { ring } = terms;
  const part = participant({ attempt, terms: text, ring, identity, update, weight, least });
  return { weight, part };
}

/** The attempt is over, or another begins: its secrets are erased. */
export function leaveSecure(participation: Participation, assignment?: string): void {
  const { secure } = participation;
  if (secure === undefined) return;
  if (assignment !== undefined && secure.about.assignment !== assignment) return;
  secure.part.erase();
  participation.secure = undefined;
}

/** Answers a phase, or says that it cannot: an earlier life of this client began the attempt. */
export function answerPhase(participation: Participation, asked: PhaseQuestion): void {
  const { secure, connection } = participation;
  const { assignment } = asked;
  if (secure?.about.assignment !== assignment) {
    const message = "the secrets of this attempt are gone";
    connection.tell({ type: "failed", assignment, code: "other", message });
    return;
  }
  const answering = answer(participation, secure, asked).catch((error: unknown) => {
    if (participation.secure !== secure) return;
    const message = errorOf(error).message.slice(0, 1000);
    // What it was told of the others does not fit, so that its masks may be with other ones.
    const code = error instanceof ProtocolError ? "lists" : "other";
    leaveSecure(participation);
    connection.settle(assignment);
    forgetOffer(participation, assignment);
    connection.tell({ type: "failed", assignment, code, message });
    participation.events.emit("assignment", { ...secure.about, what: "failed", code, message });
  });
  inBackground(participation, answering);
}

/** @throws ProtocolError `secure`, `key` for lists that a client must not answer */
async function answer(
  participation: Participation,
  { part, weight, about }: SecureRound,
  asked: PhaseQuestion,
): Promise<void> {
  const { connection, offered } = participation;
  const { assignment } = asked;
  if (asked.type !== "masked") {
    connection.tell(await answerTo(part, asked));
    return;
  }
  const words = await part.masked(asked.sealed);
  // The connection repeats it.
  if (offered.has(assignment)) return;
  const update = new Uint8Array(words.buffer as ArrayBuffer);
  offer(participation, maskedOffer(assignment, weight, update, await sha256(update)), update);
  participation.events.emit("assignment", { ...about, what: "offered" });
}

/** The offer of a masked update: nothing of its training is said. @param hash SHA-256 of it */
export const maskedOffer = (
  assignment: string,
  samples: number,
  update: Uint8Array,
  hash: string,
): Offer => {
  const metrics = { lossBefore: 0, lossAfter: 0, activationNorms: [], seconds: 0 };
  return { type: "offer", assignment, sha256: hash, bytes: update.length, samples, metrics };
};

/**
 * What a client says to a phase's question.
 * @throws ProtocolError `secure`, `key` for lists that a client must not answer
 */
export async function answerTo(
  part: Participant,
  asked: Exclude<PhaseQuestion, ServerMessageOf<"masked">>,
): Promise<OutgoingClientMessage> {
  const { assignment } = asked;
  switch (asked.type) {
    case "keys":
      return { type: "keys", assignment, ...(await part.keys()) };
    case "shares": {
      const { sealed, seed } = await part.shares(asked.members);
      return { type: "shares", assignment, sealed: [...sealed], seed };
    }
    case "verify":
      return { type: "verify", assignment, signature: await part.verify(asked.survivors) };
    case "unmask": {
      const shares = await part.unmask(asked.survivors, asked.signatures);
      return { type: "unmask", assignment, shares: [...shares] };
    }
  }
}
