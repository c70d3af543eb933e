import assert from "node:assert/strict";
import { test } from "node:test";
import { toHex } from "../../runtime/connection/hash.js";
import { thresholdOf } from "../../runtime/secure/graph.js";
import { commitmentOf, fromHex, publicKeyOf } from "../../runtime/secure/keys.js";
import { addMasked, unmask } from "../../aggregator/aggregation/masked-sum.js";
import { recovered } from "../../aggregator/aggregation/recovery.js";
import { ATTEMPT, joined, routed, TERMS, type Joined } from "./members.js";

/** Takes members through the phases to those in which some of them are gone. */
async function roundOf(
  all: readonly Joined[],
  gone: { shares?: readonly number[]; masked?: readonly number[]; unmask?: readonly number[] } = {},
) {
  const without = (members: readonly Joined[], places: readonly number[] = []) =>
    members.filter((member) => !places.includes(all.indexOf(member)));
  const members = all.map(({ member }) => member);
  const sharers = without(all, gone.shares);
  const sent = new Map<string, readonly (string | null)[]>();
  const commitments = new Map<string, string>();
  for (const { id, part } of sharers) {
    const { sealed, seed } = await part.shares(members);
    sent.set(id, sealed);
    commitments.set(id, seed);
  }
  const maskers = without(sharers, gone.masked);
  const sum = new Uint32Array(all[0].update.length);
  for (const one of maskers) {
    const masked = await one.part.masked(routed(sent, all, one));
    addMasked(sum, new Uint8Array(masked.buffer));
  }
  const survivors = maskers.map(({ id }) => id);
  const signatures: Record<string, string> = {};
  for (const { id, part } of maskers) signatures[id] = await part.verify(survivors);
  const told = new Map<string, readonly (string | null)[]>();
  for (const { id, part } of without(maskers, gone.unmask))
    told.set(id, await part.unmask(survivors, signatures));
  return { sharers, maskers, survivors, signatures, commitments, sum, told };
}

/** The sum without its masks, from what was told alone; nothing where that does not do. */
async function opened(
  all: readonly Joined[],
  { sharers, survivors, commitments, sum, told }: Awaited<ReturnType<typeof roundOf>>,
  threshold = thresholdOf(all.length),
): Promise<Int32Array | undefined> {
  const wanted = sharers.map(({ id, member }) => {
    const at = all.findIndex((one) => one.id === id);
    const shares = [...told].flatMap(([holder, given]) => {
      const x = all.findIndex((one) => one.id === holder) + 1;
      const share = given[at];
      return share === null ? [] : [[holder, { x, bytes: fromHex(share) }] as const];
    });
    return {
      client: id,
      shares: new Map(shares),
      isRight: async (secret: Uint8Array) =>
        survivors.includes(id)
          ? toHex(await commitmentOf(secret)) === commitments.get(id)
          : toHex(await publicKeyOf(secret)) === member.mask,
    };
  });
  const secrets = await recovered(wanted, threshold);
  if (secrets === undefined) return undefined;
  const of = (inSum: boolean) =>
    new Map([...secrets].filter(([id]) => survivors.includes(id) === inSum));
  const ids = sharers.map(({ id }) => id);
  const open = sum.slice();
  await unmask(open, {
    attempt: ATTEMPT,
    seeds: of(true),
    keys: of(false),
    clients: sharers.map(({ id, member: { mask } }) => ({
      ...{ id, mask },
      neighbours: ids.filter((other) => other !== id),
    })),
  });
  return new Int32Array(open.buffer);
}

const plainSum = (members: readonly Joined[]): Int32Array =>
  members.reduce(
    (sum, { update }) => sum.map((x, i) => x + update[i]),
    new Int32Array(members[0].update.length),
  );

test("the sum opened is that of those who masked, with drop-outs in every phase", async () => {
  for (const gone of [
    {},
    { shares: [3] },
    { masked: [0, 7] },
    { unmask: [1, 2] },
    { shares: [0], masked: [5], unmask: [8] },
  ]) {
    const all = await joined(10);
    const round = await roundOf(all, gone);
    assert.deepEqual(await opened(all, round), plainSum(round.maskers));
  }
});

test("below the threshold nothing is opened", async () => {
  const all = await joined(10);
  const t = thresholdOf(10);
  const round = await roundOf(all, { unmask: [0, 1, 2] });
  assert.ok(round.told.size === t);
  round.told.delete(round.survivors.at(-1)!);
  assert.equal(await opened(all, round), undefined);
});

test("a wrong share of one or two holders is passed over", async () => {
  const all = await joined(10);
  const round = await roundOf(all, { masked: [9] });
  for (const holder of [round.survivors[0], round.survivors[4]]) {
    const told = round.told.get(holder)!;
    const lies = told.map(
      (share) => share && share.replace(/^../, (x) => (x === "00" ? "01" : "00")),
    );
    round.told.set(holder, lies);
    assert.deepEqual(await opened(all, round), plainSum(round.maskers));
  }
});

test("a dealer of wrong shares ends the attempt, and opens nothing", async () => {
  const all = await joined(6);
  const round = await roundOf(all);
  const wrong = toHex(crypto.getRandomValues(new Uint8Array(32)));
  round.commitments.set(all[2].id, wrong);
  assert.equal(await opened(all, round), undefined);
});

test("a phase is answered once: the same again, and other lists not at all", async () => {
  const all = await joined(6);
  const members = all.map(({ member }) => member);
  const [one] = all;
  const first = await one.part.shares(members);
  assert.equal(await one.part.shares([...members]), first);
  await assert.rejects(async () => one.part.shares(members.slice(1)), /the lists that came before/);
  const sent = new Map<string, readonly (string | null)[]>();
  for (const { id, part } of all) sent.set(id, (await part.shares(members)).sealed);
  const lists = routed(sent, all, one);
  const masked = await one.part.masked(lists);
  assert.equal(await one.part.masked([...lists]), masked);
  const fewer = lists.map((message, i) => (i === 3 ? null : message));
  await assert.rejects(async () => one.part.masked(fewer), /the lists that came before/);
});

test("a client signs for one set of survivors, and opens that alone", async () => {
  const all = await joined(7);
  const round = await roundOf(all, { unmask: [0, 1, 2, 3, 4, 5, 6] });
  const [one] = all;
  const fewer = round.survivors.slice(0, -1);
  await assert.rejects(async () => one.part.verify(fewer), /the lists that came before/);
  await assert.rejects(one.part.unmask(fewer, round.signatures), /those who were signed for/);
});

test("shares are given once, whatever signatures come with the same survivors", async () => {
  const all = await joined(8);
  const { survivors } = await roundOf(all, { masked: [2] });
  const other = Object.fromEntries(survivors.map((id) => [id, "00".repeat(64)]));
  await assert.rejects(
    async () => all[0].part.unmask(survivors, other),
    /the lists that came before/,
  );
});

test("too few signatures, twice the same or of others, open nothing", async () => {
  const all = await joined(7);
  const round = await roundOf(all, { unmask: [0, 1, 2, 3, 4, 5, 6] });
  const t = thresholdOf(7);
  const some = Object.fromEntries(Object.entries(round.signatures).slice(0, t - 1));
  const one = Object.values(round.signatures)[0];
  const copied = { ...some, [round.survivors[t]]: one };
  const stranger = { ...some, ["f".repeat(64)]: one };
  for (const [i, signatures] of [some, copied, stranger].entries())
    await assert.rejects(
      all[i].part.unmask(round.survivors, signatures),
      /"signatures" expected at least 5 of survivors, got 4/,
    );
});

test("survivors are of those who sent shares, at least the threshold, and oneself", async () => {
  const cases: readonly [(all: readonly Joined[]) => readonly string[], RegExp][] = [
    [(all) => all.slice(0, 4).map(({ id }) => id), /at least 5 clients, got 4/],
    [(all) => [...all.slice(0, 6).map(({ id }) => id), "f".repeat(64)], /who sent shares/],
    [(all) => all.slice(1, 6).map(({ id }) => id), /this one too/],
    [(all) => [...all.slice(0, 4), all[0]].map(({ id }) => id), /at least 5 clients/],
  ];
  for (const [survivors, wrong] of cases) {
    const all = await joined(7);
    const members = all.map(({ member }) => member);
    const sent = new Map<string, readonly (string | null)[]>();
    for (const { id, part } of all) sent.set(id, (await part.shares(members)).sealed);
    await all[0].part.masked(routed(sent, all, all[0]));
    await assert.rejects(all[0].part.verify(survivors(all)), wrong);
  }
});

test("members with other terms, a key twice, no order or too few are refused", async () => {
  const all = await joined(6);
  const members = all.map(({ member }) => member);
  const others = await joined(6, { terms: `${TERMS} ` });
  const foreign = [...members];
  foreign[3] = others[3].member;
  const twice = [...members];
  twice[4] = { ...members[4], mask: members[1].mask };
  const own = [...members];
  own[0] = others[0].member;
  for (const [list, wrong] of [
    [foreign, /signed for these terms/],
    [twice, /no key twice/],
    [[...members].reverse(), /rising order/],
    [members.slice(0, 3), /4 to 128 clients, got 3/],
    [members.slice(1), /this client with its own keys/],
    [own, /this client with its own keys/],
  ] as const) {
    // Another life of the first client: its keys are fresh, and stand in its place.
    const [{ part, member: mine }] = await joined(6);
    const given = list.map((member) => (member === members[0] ? mine : member));
    await assert.rejects(part.shares(given), wrong);
  }
});

test("a message from another place is a missing share, and not a missing client", async () => {
  const all = await joined(6);
  const members = all.map(({ member }) => member);
  const sent = new Map<string, readonly (string | null)[]>();
  for (const { id, part } of all) sent.set(id, (await part.shares(members)).sealed);
  const [one] = all;
  const lists = routed(sent, all, one).map((message, i) => (i === 2 ? "00".repeat(81) : message));
  await one.part.masked(lists);
  for (const other of all.slice(1)) await other.part.masked(routed(sent, all, other));
  const survivors = all.map(({ id }) => id);
  const signatures: Record<string, string> = {};
  for (const { id, part } of all) signatures[id] = await part.verify(survivors);
  const told = await one.part.unmask(survivors, signatures);
  assert.deepEqual(
    told.map((share) => share === null),
    [false, false, true, false, false, false],
  );
});

test("t - 1 who put their shares together cannot open one who is in the sum", async () => {
  const all = await joined(7);
  const t = thresholdOf(7);
  const round = await roundOf(all);
  for (const holder of [...round.told.keys()].slice(t - 1)) round.told.delete(holder);
  assert.equal(await opened(all, round), undefined);
  // Not even with one share less than there are: any t give the secret, and fewer another.
  assert.equal(await opened(all, round, t - 1), undefined);
});

test("nothing is answered after the secrets are erased", async () => {
  const all = await joined(5);
  all[0].part.erase();
  await assert.rejects(async () => all[0].part.shares(all.map(({ member }) => member)), /is over/);
});
