import { maskedGathering } from "../aggregator/aggregation/masked-gathering.js";
import { SECURE_PHASES } from "../aggregator/rounds/participants.js";
import { percentiles } from "../cli/loadtest/recording.js";
import { fedavg } from "../runtime/algorithms/fedavg.js";
import { labIdentity } from "../runtime/platform/node-identity.js";
import { thresholdOf } from "../runtime/secure/graph.js";
import { participant } from "../runtime/secure/participant.js";
import { quantised, randomWords, stepsFor } from "../runtime/secure/quantise.js";
import { ATTEMPT, TERMS, joined, routed, type Joined } from "../test/secure/members.js";
import { now, type Figure } from "./comparison.js";
import { SETTINGS, SMALL, atMost, fleetOf, startServer, until } from "./fleet.js";

// What secure aggregation costs a client, its aggregator and the line.

export const parts = ["100 clients, a million numbers", "a ring of 1000"];

export const compare = (report: (figure: Figure) => void, part: string): Promise<void> =>
  part === parts[0] ? million(report) : ring(report, 1000);

const CLIENTS = 100;
const DROPPED = 10;
const NUMBERS = 1_000_000;

/**
 * One client of a hundred, from its update to its last answer, and the aggregator's work for ten
 * who left before they sent theirs. The other clients' updates are short: only their secrets count.
 */
async function million(report: (figure: Figure) => void): Promise<void> {
  const others = await joined(CLIENTS, { update: new Int32Array(1) });
  const place = 0;
  const values = new Float32Array(NUMBERS).fill(1e-3);
  const quantiser = { range: 1, steps: stepsFor(CLIENTS), maxWeight: 1 };
  let spent = 0;
  const timed = async <T>(work: () => T | Promise<T>): Promise<T> => {
    const begun = now();
    const result = await work();
    spent += now() - begun;
    return result;
  };
  const update = await timed(() => quantised(values, 1, quantiser, randomWords(NUMBERS)));
  const part = participant({
    ...{ attempt: ATTEMPT, terms: TERMS, update, weight: 1, least: 4 },
    identity: labIdentity("secure", others[place].index),
  });
  const own: Joined = { ...others[place], update, part, member: await timed(() => part.keys()) };
  const all = others.map((one, i) => (i === place ? own : one));
  const work = <T>(one: Joined, what: () => Promise<T>) => (one === own ? timed(what) : what());

  const members = all.map(({ member }) => member);
  const sent = new Map<string, readonly (string | null)[]>();
  const seeds = new Map<string, string>();
  for (const one of all) {
    const { sealed, seed } = await work(one, () => one.part.shares(members));
    sent.set(one.id, sealed);
    seeds.set(one.id, seed);
  }
  const staying = all.slice(0, CLIENTS - DROPPED);
  for (const one of staying) {
    const sealed = routed(sent, all, one);
    const words = await work(one, () => one.part.masked(sealed));
    if (one === own) report(traffic(words, sent.get(one.id)!, sealed));
  }
  const survivors = staying.map(({ id }) => id);
  const signatures: Record<string, string> = {};
  for (const one of staying) signatures[one.id] = await work(one, () => one.part.verify(survivors));
  const told = new Map<string, readonly (string | null)[]>();
  for (const one of staying)
    told.set(one.id, await work(one, () => one.part.unmask(survivors, signatures)));
  const what = `${CLIENTS} clients, ${NUMBERS.toLocaleString("en")} numbers`;
  report(atMost(`${what}: a client's work`, spent / 1000, "s", 1));

  const gathering = maskedGathering(quantiser, fedavg.server, NUMBERS);
  const bytes = new Uint8Array(4 * NUMBERS);
  for (const client of survivors)
    gathering.add({ client, sha256: "", vectors: {}, bytes, samples: 1, staleness: 0 });
  const threshold = thresholdOf(CLIENTS);
  const ids = all.map(({ id }) => id);
  const begun = now();
  const isOpen = await gathering.unmask({
    attempt: ATTEMPT,
    threshold,
    dealers: all.map(({ id, member }, i) => ({
      ...{ id, mask: member.mask, commitment: seeds.get(id)!, isIn: survivors.includes(id) },
      neighbours: ids,
      shares: staying.map((holder, x) => ({
        ...{ holder: holder.id, x: x + 1 },
        share: told.get(holder.id)![i]!,
      })),
    })),
  });
  if (!isOpen) throw new Error("the masks of the bench did not come off");
  const seconds = (now() - begun) / 1000;
  report(atMost(`${what}: the reducer's work, ${DROPPED} dropped`, seconds, "s", 8));
}

/** Bytes of a client over the line, against those of its update in float32. */
function traffic(
  words: Uint32Array,
  dealt: readonly unknown[],
  received: readonly unknown[],
): Figure {
  const plain = 4 * NUMBERS;
  const value = words.byteLength + JSON.stringify([dealt, received]).length;
  return {
    name: `${CLIENTS} clients, ${NUMBERS.toLocaleString("en")} numbers: a client's bytes, shares both ways`,
    value: value / 1e6,
    unit: "MB",
    baseline: "the update in float32",
    baselineValue: plain / 1e6,
    ratio: plain / value,
    target: "<= 1.1 x",
    met: value <= 1.1 * plain,
  };
}

/** Light clients with real masks on a ring: seconds and bytes of each phase. */
async function ring(report: (figure: Figure) => void, clients: number): Promise<void> {
  const server = await startServer({
    widths: SMALL,
    settings: {
      ...{ ...SETTINGS, secure: true, normalise: "none", secureRange: 1, rounds: 1 },
      ...{ gather: clients, minimum: clients, quorum: 0.9, secureDeadline: 280_000 },
    },
    connections: 2 * clients,
  });
  const fleet = fleetOf(server, clients, { secureOnly: true });
  try {
    await until(() => fleet.recording.finished === clients);
    const { counted, samples, phases } = fleet.recording;
    const name = `ring of ${clients} clients, 250 kB model`;
    report({
      ...{ name: `${name}: updates in the sum`, value: counted, unit: "updates" },
      ...{ target: `>= ${clients}`, met: counted >= clients },
    });
    for (const phase of SECURE_PHASES) {
      const times = percentiles(samples[phase]);
      const { answers, up, down } = phases[phase];
      if (times === undefined) continue;
      report({ name: `${name}: ${phase}`, value: times.max / 1000, unit: "s" });
      report({ name: `${name}: ${phase}, up`, value: up / answers / 1000, unit: "kB" });
      report({ name: `${name}: ${phase}, down`, value: down / answers / 1000, unit: "kB" });
    }
    const [round] = (await server.ask()).rounds;
    report({ name: `${name}: the round`, value: round.seconds, unit: "s" });
  } finally {
    fleet.stop();
    server.stop();
  }
}
