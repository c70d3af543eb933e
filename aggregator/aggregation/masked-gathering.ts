import type { ServerHalf } from "../../runtime/algorithms/algorithm.js";
import { commitmentOf, fromHex, publicKeyOf } from "../../runtime/secure/keys.js";
import { weightedSum, type Quantiser } from "../../runtime/secure/quantise.js";
import type { SecureAttempt } from "../../runtime/secure/keys.js";
import type { Gathering } from "./gathering.js";
import { addMasked, unmask } from "./masked-sum.js";
import { recovered, type WantedSecret } from "./recovery.js";

/** A client that dealt shares of its secrets, and those of them that came back. */
export interface Dealer {
  readonly id: string;
  /** X25519 public key of its masks in pairs, and the commitment to its seed; hexadecimal. */
  readonly mask: string;
  readonly commitment: string;
  /** Its masked update is in the sum: the shares are of its seed, else of its secret key. */
  readonly isIn: boolean;
  /** Holders of its shares, itself too: it has masks in common with the others. */
  readonly neighbours: readonly string[];
  readonly shares: readonly {
    readonly holder: string;
    readonly x: number;
    readonly share: string;
  }[];
}

/** By what the masks of a round come off its sum. */
export interface UnmaskingJob {
  readonly attempt: SecureAttempt;
  /** t: so many shares give a secret. */
  readonly threshold: number;
  readonly dealers: readonly Dealer[];
}

/** The masked updates of one round in Z_2^32, whose order does not matter, until the masks are off. */
export interface MaskedGathering extends Gathering {
  /**
   * Takes the masks off. False where the shares do not give every secret; the sum is then as it
   * was, and other shares may do.
   */
  unmask(job: UnmaskingJob): Promise<boolean>;
}

/** @param size numbers of each vector */
export function maskedGathering(
  quantiser: Quantiser,
  server: ServerHalf,
  size: number,
): MaskedGathering {
  const names = Object.keys(server.folds);
  const sum = new Uint32Array(size * names.length);
  const members = new Map<string, number>();
  let isOpen = false;
  return {
    add({ client, samples, bytes }) {
      if (members.has(client)) throw new Error(`"${client}" is in the round already`);
      if (isOpen) throw new Error("the masks are off already");
      members.set(client, Math.min(samples, quantiser.maxWeight));
      addMasked(sum, bytes!);
      return undefined;
    },

    async unmask({ attempt, threshold, dealers }) {
      if (isOpen) return true;
      const isIn = new Set(dealers.filter((dealer) => dealer.isIn).map(({ id }) => id));
      if (isIn.size !== members.size || [...members.keys()].some((id) => !isIn.has(id)))
        throw new Error("the sum's members are not those who are said to be in it");
      const secrets = await recovered(dealers.map(wantedOf), threshold);
      if (secrets === undefined) return false;
      const of = (wanted: boolean) =>
        new Map([...secrets].filter(([id]) => isIn.has(id) === wanted));
      await unmask(sum, {
        attempt,
        seeds: of(true),
        keys: of(false),
        clients: dealers.map(({ id, mask, neighbours }) => ({
          ...{ id, mask },
          neighbours: neighbours.filter((other) => other !== id),
        })),
      });
      for (const secret of secrets.values()) secret.fill(0);
      isOpen = true;
      return true;
    },

    result() {
      if (!isOpen) throw new Error("the masks are not off yet");
      const weight = [...members.values()].reduce((a, b) => a + b, 0);
      const sums = names.map((name, i) => {
        const part = sum.subarray(i * size, (i + 1) * size);
        return [name, weightedSum(part, quantiser)] as const;
      });
      const weights = Object.fromEntries(names.map((name) => [name, weight]));
      return { fold: { sums: Object.fromEntries(sums), weights, count: members.size } };
    },
  };
}

/** What a dealer's shares are to give, and how that is known to be right. */
const wantedOf = ({ id, mask, commitment, isIn, shares }: Dealer): WantedSecret => ({
  client: id,
  shares: new Map(
    shares.map(({ holder, x, share }) => [holder, { x, bytes: fromHex(share) }] as const),
  ),
  isRight: async (secret) =>
    isIn ? isHex(await commitmentOf(secret), commitment) : isHex(await publicKeyOf(secret), mask),
});

const isHex = (bytes: Uint8Array, hex: string): boolean =>
  Buffer.from(bytes).toString("hex") === hex;
