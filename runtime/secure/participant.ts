import { digest, toHex } from "../connection/hash.js";
import { ProtocolError } from "../errors.js";
import type { Identity } from "../platform/platform.js";
import { LEAST_MEMBERS, MOST_COMPLETE, thresholdOf, type Ring } from "./graph.js";
import {
  agreed,
  agreementKey,
  commitmentOf,
  fromHex,
  pairKey,
  publicKeyOf,
  selfKey,
  type Bytes,
  type SecureAttempt,
} from "./keys.js";
import { addMask } from "./masks.js";
import { opened, sealed, type SealedShares } from "./sealing.js";
import { shareAt } from "./shamir.js";
import {
  isSigned,
  keysText,
  survivorsText,
  type IdentifiedMember,
  type SecureMember,
} from "./texts.js";

/** What a client takes part with. */
export interface ParticipantOptions {
  readonly attempt: SecureAttempt;
  /** The text of the terms, as it came. */
  readonly terms: string;
  readonly identity: Identity;
  /** Its update in whole steps, and with what weight. */
  readonly update: Int32Array;
  readonly weight: number;
  /** The fewest clients of a round that it takes part in. */
  readonly least: number;
  /** Its lists are then of its neighbours and itself, and nobody signs for the survivors. */
  readonly ring?: Ring;
  /** t among n clients; the ring's, or `thresholdOf`, where not given. */
  readonly threshold?: (clients: number) => number;
  /** From the operating system where not given. */
  readonly random?: (bytes: number) => Bytes;
}

/** What a client answers in each phase; lists are in the order of the members. */
export interface Participant {
  keys(): Promise<SecureMember>;
  /** Seals shares of its secrets for every other member; nothing in its own place. */
  shares(
    members: readonly SecureMember[],
  ): Promise<{ readonly sealed: readonly (string | null)[]; readonly seed: string }>;
  /** Its masked update. @param sealed what the others sealed for it; nothing where one is gone */
  masked(sealed: readonly (string | null)[]): Promise<Uint32Array>;
  /** Signs who is in the sum. */
  verify(survivors: readonly string[]): Promise<string>;
  /**
   * For each member one share: of its seed where it is in the sum, of its secret key where it is not
   * and was to be. @param signatures of survivors, by id
   */
  unmask(
    survivors: readonly string[],
    signatures: Readonly<Record<string, string>>,
  ): Promise<readonly (string | null)[]>;
  /** Overwrites all secrets. Nothing is answered any more. */
  erase(): void;
}

const refuse = (message: string): never => {
  throw new ProtocolError("secure", message);
};

/** What a client keeps to itself for as long as the attempt lasts, 32 bytes each. */
interface Secrets {
  /** Of sealed messages, and of masks in pairs: X25519 secret keys. */
  readonly cipher: Bytes;
  readonly mask: Bytes;
  /** Of its own mask. */
  readonly seed: Bytes;
}

/**
 * A client's half of one attempt at a secure round (Bonawitz et al. 2017, with consistency). It
 * answers each phase once: the same lists are given the same answer again, and others none, since
 * two answers under one set of keys would give a client's update away.
 */
export function participant(options: ParticipantOptions): Participant {
  const { attempt, terms, identity, weight, ring } = options;
  const { threshold = ring ? () => ring.threshold : thresholdOf } = options;
  const random = options.random ?? ((bytes) => crypto.getRandomValues(new Uint8Array(bytes)));
  const secrets: Secrets = { cipher: random(32), mask: random(32), seed: random(32) };
  const cipherKey = agreementKey(secrets.cipher);
  const { once, listsOf, forget } = answersOnce();
  let update: Int32Array | undefined = options.update;
  let own: IdentifiedMember | undefined;
  let members: readonly IdentifiedMember[] = [];
  /** By member, the shares that this client holds of its secrets. */
  let held: readonly (SealedShares | undefined)[] = [];
  let sharers: readonly string[] = [];

  const enough = () => threshold(members.length);

  /** What is signed of survivors that may be. */
  function checked(survivors: readonly string[]): Promise<Bytes> {
    if (new Set(survivors).size !== survivors.length || survivors.length < enough())
      refuse(`"survivors" expected at least ${enough()} clients, got ${survivors.length}`);
    if (!survivors.every((id) => sharers.includes(id)) || !survivors.includes(own!.id))
      refuse(`"survivors" expected clients who sent shares, this one too`);
    return survivorsText(attempt, members, sharers, survivors);
  }

  return {
    keys: () =>
      once("keys", "", null, async () => {
        const cipher = toHex(await publicKeyOf(secrets.cipher));
        const mask = toHex(await publicKeyOf(secrets.mask));
        const text = await keysText(attempt, { cipher, mask, weight }, terms);
        const signature = toHex(await identity.sign(text));
        const key = toHex(identity.publicKey);
        own = { key, cipher, mask, weight, signature, id: await idOf(key) };
        return { key, cipher, mask, weight, signature };
      }),

    shares: (list) =>
      once("shares", "keys", list, async () => {
        const count = list.length;
        const all = ring && ring.neighbours + 1;
        const least = all ?? Math.max(options.least, LEAST_MEMBERS);
        const most = all ?? MOST_COMPLETE;
        if (count < least || count > most)
          refuse(`"members" expected ${least} to ${most} clients, got ${count}`);
        members = await checkMembers(list, own!, attempt, terms);
        const dealt = deal(secrets, members.length, enough(), random);
        held = members.map(({ id }, i) => (id === own!.id ? dealt[i] : undefined));
        const sealedFor = async ({ id, cipher }: IdentifiedMember, i: number) => {
          if (id === own!.id) return null;
          const shared = await agreed(await cipherKey, fromHex(cipher));
          return toHex(await sealed(dealt[i], shared, attempt, own!.id, id));
        };
        const messages = await Promise.all(members.map(sealedFor));
        return { sealed: messages, seed: toHex(await commitmentOf(secrets.seed)) };
      }),

    masked: (messages) =>
      once("masked", "shares", messages, async () => {
        if (messages.length !== members.length)
          refuse(`"sealed" expected ${members.length} messages, got ${messages.length}`);
        const at = members.findIndex(({ id }) => id === own!.id);
        const present = members.filter((_, i) => i === at || messages[i] !== null);
        if (present.length < enough())
          refuse(`"sealed" expected at least ${enough()} clients, got ${present.length}`);
        sharers = present.map(({ id }) => id);
        const heldOf = async ({ id, cipher }: IdentifiedMember, i: number) => {
          const message = messages[i];
          if (i === at || message === null) return held[i];
          const shared = await agreed(await cipherKey, fromHex(cipher));
          const shares = await opened(fromHex(message), shared, attempt, id, own!.id);
          // Of a member who deals what is none: a share that is missing. On a ring the places are
          // those around the dealer, which the aggregator alone knows.
          return ring || shares?.x === at + 1 ? shares : undefined;
        };
        held = await Promise.all(members.map(heldOf));
        const sum = new Uint32Array(update!);
        update = undefined;
        await addMasks(sum, secrets, attempt, own!.id, present);
        return sum;
      }),

    verify: (survivors) =>
      once("verify", "masked", survivors, async () =>
        toHex(await identity.sign(await checked(survivors))),
      ),

    unmask: (survivors, signatures) =>
      once("unmask", ring ? "masked" : "verify", [survivors, signatures], async () => {
        if (!ring && listsOf("verify") !== JSON.stringify(survivors))
          refuse(`"survivors" expected those who were signed for, got others`);
        const text = await checked(survivors);
        if (!ring) {
          const signers = members.filter(({ id }) => survivors.includes(id));
          const count = await countSigned(text, signers, signatures);
          if (count < enough())
            refuse(`"signatures" expected at least ${enough()} of survivors, got ${count}`);
        }
        return members.map(({ id }, i) => {
          const shares = held[i];
          if (shares === undefined || !sharers.includes(id)) return null;
          return toHex(survivors.includes(id) ? shares.seed : shares.secret);
        });
      }),

    erase() {
      forget();
      update = undefined;
      for (const secret of Object.values(secrets)) secret.fill(0);
      for (const shares of held) {
        shares?.seed.fill(0);
        shares?.secret.fill(0);
      }
    },
  };
}

/** The answers that were given, each to its lists. */
function answersOnce() {
  const answers = new Map<string, { readonly lists: string; readonly answer: Promise<unknown> }>();
  let erased = false;
  return {
    /** The answer of a phase that comes behind another, made at the first time alone. */
    once<A>(phase: string, after: string, lists: unknown, make: () => Promise<A>): Promise<A> {
      const text = JSON.stringify(lists);
      const before = answers.get(phase);
      if (erased) refuse("the attempt is over");
      if (before === undefined) {
        if (after !== "" && !answers.has(after)) refuse(`"${phase}" expected after "${after}"`);
        const answer = Promise.resolve(answers.get(after)?.answer).then(make);
        answers.set(phase, { lists: text, answer });
        return answer;
      }
      if (before.lists !== text)
        refuse(`"${phase}" expected the lists that came before, got others`);
      return before.answer as Promise<A>;
    },
    listsOf: (phase: string): string | undefined => answers.get(phase)?.lists,
    forget(): void {
      erased = true;
      answers.clear();
    },
  };
}

/** For each place the shares of both secrets. */
function deal(
  { seed, mask }: Secrets,
  places: number,
  threshold: number,
  random: (bytes: number) => Bytes,
): SealedShares[] {
  const coefficients = [seed, mask].map(() =>
    Array.from({ length: threshold - 1 }, () => random(32)),
  );
  const shares = Array.from({ length: places }, (_, i) => ({
    x: i + 1,
    seed: shareAt(seed, coefficients[0], i + 1).bytes,
    secret: shareAt(mask, coefficients[1], i + 1).bytes,
  }));
  for (const part of coefficients.flat()) part.fill(0);
  return shares;
}

/** Adds a client's own mask, and those that it has in common with the others who are there. */
async function addMasks(
  sum: Uint32Array,
  secrets: Secrets,
  attempt: SecureAttempt,
  own: string,
  present: readonly IdentifiedMember[],
): Promise<void> {
  await addMask(sum, await selfKey(secrets.seed, attempt), 1);
  const maskKey = await agreementKey(secrets.mask);
  for (const { id, mask } of present) {
    if (id === own) continue;
    const shared = await agreed(maskKey, fromHex(mask));
    await addMask(sum, await pairKey(shared, attempt, own, id), own < id ? 1 : -1);
  }
}

/** How many of these members have signed the text. */
async function countSigned(
  text: Bytes,
  signers: readonly IdentifiedMember[],
  signatures: Readonly<Record<string, string>>,
): Promise<number> {
  const valid = await Promise.all(
    signers.map(({ id, key }) => {
      const signature = Object.hasOwn(signatures, id) ? signatures[id] : undefined;
      return signature !== undefined && isSigned(text, fromHex(key), fromHex(signature));
    }),
  );
  return valid.filter(Boolean).length;
}

const idOf = async (key: string): Promise<string> => toHex(await digest(fromHex(key)));

/**
 * The members with their ids, in rising order of these.
 * @throws ProtocolError `secure` for a list that this client is not in as it said, that is not in
 * order, has a key twice, or a signature that is not over its own terms
 */
async function checkMembers(
  list: readonly SecureMember[],
  own: IdentifiedMember,
  attempt: SecureAttempt,
  terms: string,
): Promise<readonly IdentifiedMember[]> {
  const members = await Promise.all(
    list.map(async (member) => ({ ...member, id: await idOf(member.key) })),
  );
  if (!members.every(({ id }, i) => i === 0 || members[i - 1].id < id))
    refuse(`"members" expected in rising order of their ids`);
  const keys = members.flatMap(({ key, cipher, mask }) => [key, cipher, mask]);
  if (new Set(keys).size !== keys.length) refuse(`"members" expected no key twice`);
  const listed = members.find(({ id }) => id === own.id);
  if (listed?.cipher !== own.cipher || listed.mask !== own.mask || listed.weight !== own.weight)
    refuse(`"members" expected this client with its own keys and weight`);
  for (const { id, key, signature, ...said } of members) {
    const text = await keysText(attempt, said, terms);
    if (!(await isSigned(text, fromHex(key), fromHex(signature))))
      refuse(`"members" expected keys that client ${id.slice(0, 8)} signed for these terms`);
  }
  return members;
}
