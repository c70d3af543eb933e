import { randomBytes } from "node:crypto";
import { sha256Hex } from "../../runtime/platform/node-sha256.js";
import type { ClientMessageOf } from "../../runtime/protocol/client-messages.js";
import type { OutgoingServerMessage } from "../../runtime/protocol/server-messages.js";
import { holdersOf, neighboursOf, thresholdOf, type Ring } from "../../runtime/secure/graph.js";
import { fromHex, type SecureAttempt } from "../../runtime/secure/keys.js";
import {
  isSigned,
  keysText,
  survivorsText,
  type IdentifiedMember,
} from "../../runtime/secure/texts.js";
import type { UnmaskingJob } from "../aggregation/masked-gathering.js";
import { endingInWords } from "../aggregation/validation.js";
import { addTrouble, type Assignment, type Client } from "../clients/clients.js";
import type { RoundEffect } from "../rounds/engine.js";
import type { SecurePhase, Work } from "../rounds/participants.js";
import { inSlices } from "../sessions/fair-scheduling.js";
import type { Session } from "../sessions/session.js";
import { brokenBy } from "../storage/retry.js";
import type { RunBase, RunContext } from "./context.js";
import type { Attempts } from "./attempts.js";
import type { Leaf } from "./leaf/leaf.js";
import { ringOf } from "../rounds/ring.js";
import { quantiserOf } from "./secure.js";

type Enter = Extract<RoundEffect, { readonly type: "enter" }>;
type Answer<T extends "trained" | "keys" | "shares" | "verify" | "unmask"> = (
  client: Client,
  message: ClientMessageOf<T>,
  session: Session,
) => void;

/** What becomes of the answers of clients. */
interface PhaseAnswers {
  readonly trained: Answer<"trained">;
  readonly keys: Answer<"keys">;
  readonly shares: Answer<"shares">;
  readonly verify: Answer<"verify">;
  readonly unmask: Answer<"unmask">;
}

/** The phases of a secure round: lists are sent to its clients, and their answers looked at. */
export interface SecurePhases {
  /** A phase begins. */
  enter(effect: Enter): void;
  /** Asks a client of the present phase again. */
  ask(client: string, work: Work): void;
  /** The attempt is over: what clients said in it is forgotten. */
  end(): void;
  readonly answers: PhaseAnswers;
  /** What is wrong with the offer of a masked update, if anything. */
  wrongIn(assignment: Assignment, samples: number): string | undefined;
  /** A client says that it was told of other clients than can be: its masks may be with those. */
  doubted(client: string): void;
  /** A client whose update is in the sum will not answer any more. */
  gone(client: string, code: string): void;
  /** A client is connected again with this unfinished work. */
  takeUp(client: Client, pending: ReadonlySet<string>): void;
}

/** What is known of an attempt; clients by id. */
interface Known {
  readonly attempt: SecureAttempt;
  readonly work: Work;
  readonly terms: string;
  readonly maxWeight: number;
  readonly ring: Ring | undefined;
  phase: SecurePhase;
  /** Whom the phase is for, sorted. */
  asked: readonly string[];
  readonly keys: Map<string, IdentifiedMember>;
  /** U1, in rising order of ids, with the ids of U2 and U3. */
  members: readonly IdentifiedMember[];
  /** The members whom a client knows of: all of them, or its neighbours on a ring, and itself. */
  circles: ReadonlyMap<string, readonly IdentifiedMember[]>;
  sharers: readonly string[];
  survivors: readonly string[];
  readonly dealt: Map<string, ClientMessageOf<"shares">>;
  readonly signatures: Map<string, string>;
  readonly told: Map<string, readonly (string | null)[]>;
  /** Of each secret, how many shares have been told. */
  readonly shares: Map<string, number>;
}

type SecureContext = RunBase & Pick<RunContext, "reducer" | "assignments" | "clientOf" | "roster">;

export function openSecurePhases(
  context: SecureContext,
  attempts: Pick<Attempts, "latest">,
  leaf: Pick<Leaf, "given" | "secureTerms" | "takeUp">,
): SecurePhases {
  const { definition, log, send, clientOf } = context;
  const { settings, algorithm } = definition;
  let known: Known | undefined;

  /** Asks a client for its answer, with the lists of the present phase. */
  function ask(id: string): void {
    const { session } = clientOf(id);
    const assignment = known && leaf.given(id, known.work);
    // Before the circles are known, everybody is asked when they are.
    const isReady = known?.phase === "keys" || known?.circles.has(id);
    if (session && known && assignment && isReady)
      session.send(questionTo(known, id, assignment.id));
  }

  /** The masks of a client in the sum may be with others than are in it: it would be another sum. */
  function doubt({ work }: Known, client: string): void {
    const reason = `client ${client.slice(0, 8)} was told of others than are in the sum`;
    send({ type: "sealed", work, reason });
  }

  return {
    answers: phaseAnswers(context, leaf.given, () => known, doubt),
    ask,

    enter({ phase, open: { round, attempt }, clients }) {
      const work = { round, attempt };
      if (phase === "keys")
        known = begun({ run: context.run, ...work }, work, leaf.secureTerms(), clients, {
          maxWeight: quantiserOf(settings, algorithm, attempts.latest()).maxWeight,
          ring: ringOf(settings, attempts.latest()),
        });
      const at = known!;
      at.phase = phase;
      at.asked = clients;
      if (phase === "shares") at.members = clients.map((id) => at.keys.get(id)!);
      if (phase === "masked") at.sharers = clients;
      if (phase === "verify" || (at.ring && phase === "unmask")) at.survivors = clients;
      log.info({ round, attempt, phase, clients: clients.length }, "a phase of a secure round");
      void circlesIn(at).then((circles) => {
        at.circles = circles;
        return inSlices(clients, (id) => {
          if (known === at && at.phase === phase) ask(id);
        });
      });
    },

    end() {
      known = undefined;
    },

    wrongIn({ client, work }, samples) {
      const at = known;
      if (at?.phase !== "masked" || leaf.given(client, at.work)?.work !== work)
        return "a masked update is taken when it is asked for";
      const weight = at.keys.get(client)?.weight;
      return at.asked.includes(client) && samples === weight
        ? undefined
        : `"samples" expected the weight ${weight} that was signed, got ${samples}`;
    },

    doubted(client) {
      if (known?.phase === "verify" && known.asked.includes(client)) doubt(known, client);
    },

    gone(client, code) {
      if (known?.asked.includes(client)) send({ type: "gone", client, work: known.work, code });
    },

    takeUp(client, pending) {
      leaf.takeUp(client, pending);
      const assignment = known && leaf.given(client.id, known.work);
      if (assignment && pending.has(assignment.id)) send({ type: "back", client: client.id });
    },
  };
}

/** Looks at what clients say, and tells the rounds. */
function phaseAnswers(
  context: SecureContext,
  given: Leaf["given"],
  known: () => Known | undefined,
  doubt: (at: Known, client: string) => void,
): PhaseAnswers {
  const { definition, send, assignments, roster } = context;
  const takeMasksOff = unmasker(context, known);

  /** What is open, where it waits for this answer to this client's assignment. */
  function awaited(client: Client, id: string, phase: SecurePhase): Known | undefined {
    const at = known();
    const assignment = assignments.own(client, id);
    if (assignment === undefined || assignment.ended !== undefined) {
      const code = assignment?.ended ?? "unknown-assignment";
      assignments.refuse(client, id, { code, message: endingInWords(code) });
      return undefined;
    }
    if (at === undefined || given(client.id, at.work) !== assignment) return undefined;
    return at.phase === phase && at.asked.includes(client.id) ? at : undefined;
  }

  /** A client's answer is wrong: the round continues without it. */
  function refuse(client: Client, at: Known, message: string): void {
    const { work } = at;
    const assignment = given(client.id, work);
    if (assignment === undefined || known() !== at) return;
    const refusal = { code: "other", message };
    const trouble = addTrouble(client, "train", { what: "refused", ...refusal });
    const barred = trouble.until !== undefined;
    if (!assignment.folded) assignment.ended ??= refusal.code;
    if (barred) roster.tell();
    assignments.refuse(client, assignment.id, refusal);
    assignments.free(assignment);
    send({ type: "refused", client: client.id, work, code: "other", reason: message, barred });
  }

  const answered = (client: Client, { work }: Known, phase: SecurePhase): void =>
    send({ type: "answered", client: client.id, work, phase });

  return {
    trained(client, { assignment: id }, session) {
      const assignment = assignments.own(client, id);
      const { secure } = definition.settings;
      if (!secure || assignment?.task !== "train" || assignment.ended !== undefined) {
        const code = assignment?.ended ?? "unknown-assignment";
        return assignments.refuse(client, id, { code, message: endingInWords(code) });
      }
      if (assignment.folded) return session.send({ type: "received", assignment: id });
      const { work } = assignment;
      send({ type: "answered", client: client.id, work, phase: "train" });
    },

    keys(client, { assignment, type: _, ...said }) {
      const at = awaited(client, assignment, "keys");
      if (at === undefined || at.keys.has(client.id)) return;
      const wrong = wrongKeys(at, client.id, said);
      if (wrong !== undefined) return refuse(client, at, wrong);
      const member = { ...said, id: client.id };
      at.keys.set(client.id, member);
      void isWellSigned(at, member).then((isRight) => {
        if (known() !== at || at.phase !== "keys") return;
        if (isRight) return answered(client, at, "keys");
        at.keys.delete(client.id);
        refuse(client, at, `"signature" expected that of this client's key over these terms`);
      });
    },

    shares(client, message) {
      const at = awaited(client, message.assignment, "shares");
      if (at === undefined || at.dealt.has(client.id)) return;
      const circle = at.circles.get(client.id)!;
      const { sealed } = message;
      const isWhole = circle.every(({ id }, i) => (sealed[i] === null) === (id === client.id));
      if (sealed.length !== circle.length || !isWhole)
        return refuse(client, at, `"sealed" expected a message for each of the others`);
      at.dealt.set(client.id, message);
      answered(client, at, "shares");
    },

    verify(client, { assignment, signature }) {
      const at = awaited(client, assignment, "verify");
      if (at === undefined || at.signatures.has(client.id)) return;
      void isSignedBy(at, client.id, signature).then((isRight) => {
        if (known() !== at || at.phase !== "verify") return;
        if (!isRight) {
          refuse(client, at, `"signature" expected that of this client over the survivors`);
          return doubt(at, client.id);
        }
        at.signatures.set(client.id, signature);
        answered(client, at, "verify");
      });
    },

    unmask(client, { assignment, shares }) {
      const at = awaited(client, assignment, "unmask");
      if (at === undefined || at.told.has(client.id)) return;
      const circle = at.circles.get(client.id)!;
      if (shares.length !== circle.length)
        return refuse(client, at, `"shares" expected one for each member`);
      at.told.set(client.id, shares);
      circle.forEach(({ id }, i) => {
        if (shares[i] !== null) at.shares.set(id, (at.shares.get(id) ?? 0) + 1);
      });
      answered(client, at, "unmask");
      void takeMasksOff(at);
    },
  };
}

/** Tries to take the masks off, again whenever more has been told. */
function unmasker(
  { log, send, reducer }: Pick<SecureContext, "log" | "send" | "reducer">,
  known: () => Known | undefined,
): (at: Known) => Promise<void> {
  let trying: Known | undefined;
  return async (at) => {
    const { work, told, sharers, shares } = at;
    const threshold = at.ring?.threshold ?? thresholdOf(at.members.length);
    if (trying === at || told.size < threshold) return;
    const tooFew = "the shares that came do not open the sum";
    if (!sharers.every((id) => (shares.get(id) ?? 0) >= threshold))
      return send({ type: "sealed", work, reason: tooFew });
    trying = at;
    try {
      for (let tried = 0; known() === at && tried < told.size;) {
        tried = told.size;
        if (await reducer.unmask(jobOf(at, threshold))) return send({ type: "unmasked", work });
      }
      if (known() === at) send({ type: "sealed", work, reason: tooFew });
    } catch (error) {
      log.error({ err: error }, "the masks of a round could not be taken off");
      send(brokenBy(error));
    } finally {
      if (trying === at) trying = undefined;
    }
  };
}

const begun = (
  attempt: SecureAttempt,
  work: Work,
  terms: string,
  asked: readonly string[],
  { maxWeight, ring }: Pick<Known, "maxWeight" | "ring">,
): Known => ({
  ...{ attempt, work, terms, maxWeight, ring, asked, phase: "keys" },
  keys: new Map(),
  ...{ members: [], sharers: [], survivors: [] },
  circles: new Map(),
  dealt: new Map(),
  signatures: new Map(),
  told: new Map(),
  shares: new Map(),
});

/** Whom each client knows of, from the phase `shares` on. */
async function circlesIn({ circles, members, ring }: Known): Promise<Known["circles"]> {
  if (circles.size > 0 || members.length === 0) return circles;
  if (ring === undefined) return new Map(members.map(({ id }) => [id, members]));
  const known = new Map(members.map((member) => [member.id, member]));
  const seed = randomBytes(16).toString("hex");
  const around = await neighboursOf([...known.keys()], ring.neighbours, seed);
  return new Map(
    [...around].map(([id, near]) => [id, holdersOf(id, near).map((one) => known.get(one)!)]),
  );
}

/** What a client is asked in the present phase. */
function questionTo(at: Known, client: string, assignment: string): OutgoingServerMessage {
  const { sharers, survivors, dealt, signatures } = at;
  const circle = at.circles.get(client) ?? [];
  switch (at.phase) {
    case "keys":
      return { type: "keys", assignment };
    case "shares":
      return { type: "shares", assignment, members: circle.map(({ id: _, ...one }) => one) };
    case "masked": {
      const sealedBy = (id: string) => dealt.get(id)?.sealed[placeIn(at, id, client)] ?? null;
      const sealed = circle.map(({ id }) => (sharers.includes(id) ? sealedBy(id) : null));
      return { type: "masked", assignment, sealed };
    }
    case "verify":
      return { type: "verify", assignment, survivors: [...survivors] };
    case "unmask":
      return {
        ...{ type: "unmask", assignment, survivors: knownTo(circle, survivors) },
        signatures: Object.fromEntries(signatures),
      };
  }
}

/** The place of a member in what another one knows of. */
const placeIn = ({ circles }: Known, client: string, member: string): number =>
  circles.get(client)!.findIndex(({ id }) => id === member);

const knownTo = (circle: readonly IdentifiedMember[], survivors: readonly string[]): string[] => {
  const known = new Set(circle.map(({ id }) => id));
  return survivors.filter((id) => known.has(id));
};

/** What is wrong with a client's keys, before its signature is looked at. */
function wrongKeys(
  { keys, maxWeight }: Known,
  client: string,
  { key, cipher, mask, weight }: Omit<IdentifiedMember, "id">,
): string | undefined {
  if (sha256Hex(fromHex(key)) !== client) return `"key" expected this client's own`;
  if (weight > maxWeight) return `"weight" expected at most ${maxWeight}, got ${weight}`;
  const others = [...keys.values()].flatMap((other) => [other.key, other.cipher, other.mask]);
  const isNew = new Set([key, cipher, mask, ...others]).size === others.length + 3;
  return isNew ? undefined : `"keys" expected keys that nobody else has`;
}

const isWellSigned = async ({ attempt, terms }: Known, member: IdentifiedMember) =>
  isSigned(await keysText(attempt, member, terms), fromHex(member.key), fromHex(member.signature));

const isSignedBy = async (at: Known, client: string, signature: string) =>
  isSigned(
    await survivorsText(at.attempt, at.members, at.sharers, at.survivors),
    fromHex(at.keys.get(client)!.key),
    fromHex(signature),
  );

/** By what all have told. The places of shares are those of their holders around the dealer. */
function jobOf(at: Known, threshold: number): UnmaskingJob {
  const { attempt, circles, sharers, survivors, dealt, told, keys } = at;
  const isIn = new Set(survivors);
  const dealers = sharers.map((id) => {
    const circle = circles.get(id)!;
    const shares = circle.flatMap(({ id: holder }, place) => {
      const share = told.get(holder)?.[placeIn(at, holder, id)] ?? null;
      return share === null ? [] : [{ holder, x: place + 1, share }];
    });
    return {
      ...{ id, mask: keys.get(id)!.mask, commitment: dealt.get(id)!.seed },
      ...{ isIn: isIn.has(id), neighbours: circle.map((one) => one.id), shares },
    };
  });
  return { attempt, threshold, dealers };
}
