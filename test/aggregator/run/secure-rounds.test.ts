import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Aggregator } from "../../../aggregator/run/aggregator.js";
import { recovered } from "../../../aggregator/aggregation/recovery.js";
import type { GivenSettings } from "../../../aggregator/settings.js";
import { toHex } from "../../../runtime/connection/hash.js";
import { thresholdOf } from "../../../runtime/secure/graph.js";
import { commitmentOf, fromHex, publicKeyOf } from "../../../runtime/secure/keys.js";
import { quantised, stepsFor } from "../../../runtime/secure/quantise.js";
import { until } from "../../until.js";
import { federation, tinyModel } from "./federation.js";
import { SECURE, secureFleet, type SecureClient, type SecureFleet } from "./secure-fleet.js";
import type { Message } from "./raw-client.js";

/** What clients say from the end of training to that of the round, in order. */
const SAID = ["trained", "keys", "shares", "offer", "verify", "unmask"] as const;

async function withFleet(
  fleet: Promise<SecureFleet>,
  body: (fleet: SecureFleet) => Promise<void>,
): Promise<void> {
  const begun = await fleet;
  try {
    await body(begun);
  } finally {
    await begun.end();
  }
}

/** The run ends with all of its rounds, and each model is the plain sum's. */
async function finished(fleet: SecureFleet, rounds: number): Promise<void> {
  const ending = await fleet.aggregator.done;
  assert.deepEqual(
    [ending.reason, ending.rounds, fleet.rounds.length],
    ["finished", rounds, rounds],
  );
  fleet.requireSums();
}

const messagesOf = (client: SecureClient, type: string): Message[] =>
  client.sent.filter((one): one is Message => "type" in one && one["type"] === type);

test("secure rounds end with the plain sum of the same whole steps, to the bit", () =>
  withFleet(secureFleet(6, { rounds: 3 }), async (fleet) => {
    await finished(fleet, 3);
    assert.deepEqual(fleet.abandoned, []);
    for (const { participants } of fleet.rounds) assert.equal(participants.length, 6);
    assert.match(
      fleet.aggregator.status().bears,
      /the aggregator sees sums of at least 3 of them, and no single one\./,
    );
  }));

for (const said of SAID)
  test(`a client that is gone before its "${said}" is survived`, () => {
    const outgoing = (message: Message, client: SecureClient) => {
      if (client.index !== 2 || message.type !== said) return message;
      void client.kill();
      return undefined;
    };
    return withFleet(secureFleet(7, {}, { outgoing }), async (fleet) => {
      await finished(fleet, 2);
      assert.deepEqual(fleet.abandoned, []);
      const isIn = ["verify", "unmask"].includes(said);
      assert.equal(fleet.rounds[0].participants.length, isIn ? 7 : 6);
      assert.equal(fleet.rounds[1].participants.length, 6);
    });
  });

for (const said of SAID.slice(1))
  test(`a line that breaks at "${said}" and comes back costs nothing`, () => {
    const cut = new Set<number>();
    const outgoing = (message: Message, client: SecureClient) => {
      const { index } = client;
      if (index > 1 || message.type !== said || cut.has(index)) return message;
      cut.add(index);
      return "cut" as const;
    };
    const settings = { absence: 15_000 };
    return withFleet(secureFleet(6, settings, { outgoing }), async (fleet) => {
      await finished(fleet, 2);
      assert.deepEqual(fleet.abandoned, []);
      assert.equal(fleet.rounds[0].participants.length, 6);
      assert.deepEqual([...cut].sort(), [0, 1]);
    });
  });

for (const said of ["keys", "shares", "offer", "verify", "unmask"])
  test(`below the threshold at "${said}" the attempt is abandoned, and the next one is right`, () => {
    const gone = new Set<number>();
    const outgoing = (message: Message, client: SecureClient) => {
      const { index } = client;
      if (index > 2 || message.type !== said) return message;
      gone.add(index);
      void client.kill();
      return undefined;
    };
    const settings = { quorum: 0.8 };
    return withFleet(secureFleet(7, settings, { outgoing }), async (fleet) => {
      await finished(fleet, 2);
      assert.equal(fleet.abandoned.length, 1);
      const phase = said === "offer" ? "masked" : said;
      const sentence = `^\\d of \\d answers needed for the phase ${phase} were there, and `;
      assert.match(fleet.abandoned[0], new RegExp(sentence));
      assert.equal(fleet.rounds[0].attempt, 2);
      assert.equal(fleet.rounds[0].participants.length, 4);
    });
  });

test("clients that are silent are waited for until the deadline of the phase", () => {
  const outgoing = (message: Message, { index }: SecureClient) =>
    index === 0 && message.type === "shares" ? undefined : message;
  const settings = { rounds: 1, secureDeadline: 1500 };
  return withFleet(secureFleet(5, settings, { outgoing }), async (fleet) => {
    await finished(fleet, 1);
    assert.equal(fleet.rounds[0].participants.length, 4);
  });
});

test("a client killed between its masked update and the unmasking says nothing when it is back", () => {
  let killed: { at: number; client: SecureClient; assignment: string } | undefined;
  const incoming = (message: Message, client: SecureClient) => {
    if (killed !== undefined || client.index !== 1 || message.type !== "verify") return message;
    killed = { at: client.sent.length, client, assignment: message["assignment"] as string };
    void client.kill().then(() => client.start());
    return undefined;
  };
  return withFleet(secureFleet(7, { absence: 15_000 }, { incoming }), async (fleet) => {
    await finished(fleet, 2);
    assert.deepEqual(fleet.abandoned, []);
    assert.equal(fleet.rounds[0].participants.length, 7);
    const { at, client, assignment } = killed!;
    const later = client.sent
      .slice(at)
      .filter((one): one is Message => "type" in one && one["assignment"] === assignment);
    assert.ok(later.every(({ type }) => type === "failed"));
  });
});

test("a client restarted after it gave its keys fails the attempt, and is in the next round", () => {
  let killed = false;
  const incoming = (message: Message, client: SecureClient) => {
    if (killed || client.index !== 1 || message.type !== "shares") return message;
    killed = true;
    void client.kill().then(() => client.start());
    return undefined;
  };
  return withFleet(secureFleet(7, { absence: 15_000 }, { incoming }), async (fleet) => {
    await finished(fleet, 2);
    assert.equal(fleet.rounds[0].participants.length, 6);
    const [{ message }] = messagesOf(fleet.clients[1], "failed");
    assert.match(String(message), /the secrets of this attempt are gone/);
  });
});

test("a client that lies in its shares changes nothing", () => {
  const outgoing = (message: Message, { index }: SecureClient) =>
    index === 3 && message.type === "unmask"
      ? { ...message, shares: message["shares"].map((share: string) => share && "5a".repeat(32)) }
      : message;
  return withFleet(secureFleet(7, {}, { outgoing }), (fleet) => finished(fleet, 2));
});

test("a client that deals bad shares is in no sum that is wrong", () => {
  const spoiled = new Set<number>();
  const outgoing = (message: Message, { index }: SecureClient) => {
    if (index !== 3 || message.type !== "shares" || spoiled.size > 0) return message;
    spoiled.add(index);
    return { ...message, seed: "5a".repeat(32) };
  };
  return withFleet(secureFleet(6, {}, { outgoing }), async (fleet) => {
    await finished(fleet, 2);
    assert.equal(fleet.abandoned.length, 1);
    assert.match(fleet.abandoned[0], /the shares that came do not open the sum/);
  });
});

test("what does not fit is refused, and the round goes on without its client", () => {
  const wrong: Readonly<Record<number, (message: Message) => Message>> = {
    0: (message) =>
      message.type === "keys" ? { ...message, weight: message["weight"] + 1 } : message,
    1: (message) =>
      message.type === "shares" ? { ...message, sealed: message["sealed"].slice(1) } : message,
    2: (message) =>
      message.type === "offer" ? { ...message, samples: message["samples"] + 1 } : message,
  };
  const done = new Set<number>();
  const outgoing = (message: Message, { index }: SecureClient) => {
    const changed = wrong[index]?.(message) ?? message;
    if (changed === message || done.has(index)) return message;
    done.add(index);
    return changed;
  };
  return withFleet(secureFleet(10, { rounds: 1 }, { outgoing }), async (fleet) => {
    await finished(fleet, 1);
    assert.equal(fleet.rounds[0].participants.length, 7);
    assert.deepEqual([...done].sort(), [0, 1, 2]);
  });
});

for (const asked of ["keys", "shares", "masked", "verify", "unmask"])
  test(`an aggregator restarted in the phase ${asked} begins the round anew`, async () => {
    const folder = await mkdtemp(join(tmpdir(), "fedflat-secure-"));
    let restarted: Promise<void> | undefined;
    let fleet: SecureFleet | undefined;
    const incoming = (message: Message) => {
      if (message.type === asked && fleet !== undefined) restarted ??= fleet.restart();
      return message;
    };
    try {
      fleet = await secureFleet(6, {}, { incoming }, { folder });
      await until(() => restarted !== undefined);
      await restarted;
      await finished(fleet, 2);
      assert.equal(fleet.rounds[0].attempt, 2);
      assert.match(fleet.abandoned[0], /started anew/);
    } finally {
      await fleet?.end();
      await rm(folder, { recursive: true });
    }
  });

/** Changes what the first client is told in the first round. */
const toFirst =
  (type: string, change: (message: Message) => Message) =>
  (message: Message, { index }: SecureClient) =>
    index === 0 && message.type === type ? change(message) : message;

const once = (change: (message: Message) => Message) => {
  let done = false;
  return (message: Message) => {
    if (done) return message;
    done = true;
    return change(message);
  };
};

test("a client that is shown other members than the rest spoils no model", () => {
  const incoming = toFirst(
    "shares",
    once((message) => ({ ...message, members: message["members"].slice(0, -1) })),
  );
  return withFleet(secureFleet(7, {}, { incoming }), (fleet) => finished(fleet, 2));
});

test("a client that is shown other survivors than the rest ends the attempt", () => {
  const incoming = toFirst(
    "verify",
    once((message) => {
      const own = (message["survivors"] as string[]).slice();
      return { ...message, survivors: own.slice(0, -1) };
    }),
  );
  return withFleet(secureFleet(7, {}, { incoming }), async (fleet) => {
    await finished(fleet, 2);
    assert.equal(fleet.abandoned.length, 1);
    assert.match(fleet.abandoned[0], /was told of others than are in the sum/);
  });
});

test("a client that lacks one sharer in its list ends the attempt", () => {
  const incoming = toFirst(
    "masked",
    once((message) => {
      const sealed = [...(message["sealed"] as (string | null)[])];
      sealed[sealed.findLastIndex((one) => one !== null)] = null;
      return { ...message, sealed };
    }),
  );
  return withFleet(secureFleet(7, {}, { incoming }), async (fleet) => {
    await finished(fleet, 2);
    assert.equal(fleet.abandoned.length, 1);
  });
});

test("other survivors than those signed for are told nothing", () => {
  const incoming = toFirst(
    "unmask",
    once((message) => ({ ...message, survivors: message["survivors"].slice(1) })),
  );
  return withFleet(secureFleet(7, {}, { incoming }), async (fleet) => {
    await finished(fleet, 2);
    assert.equal(fleet.rounds[0].participants.length, 7);
    const [{ message }] = messagesOf(fleet.clients[0], "failed");
    assert.match(String(message), /those who were signed for|at least/);
  });
});

test("a client that is given other terms is in no sum", () => {
  const incoming = toFirst(
    "assign",
    once((message) => {
      const terms = JSON.parse(message["settings"].secure) as object;
      const secure = JSON.stringify({ ...terms, range: 0.001 });
      return { ...message, settings: { ...message["settings"], secure } };
    }),
  );
  return withFleet(secureFleet(7, { rounds: 1 }, { incoming }), async (fleet) => {
    await fleet.aggregator.done;
    assert.equal(fleet.rounds[0].participants.length, 6);
    assert.ok(!fleet.rounds[0].participants.includes(fleet.clients[0].id));
  });
});

test("nothing but the sum can be made of all that an aggregator is sent, nor with t - 1 members", () =>
  withFleet(secureFleet(7, { rounds: 1 }), async (fleet) => {
    await finished(fleet, 1);
    const t = thresholdOf(7);
    const { clients } = fleet;
    const frames = clients.flatMap(({ sent }) => sent.filter((one) => one instanceof Uint8Array));
    const texts = clients.flatMap(({ sent }) => sent.filter((one) => !(one instanceof Uint8Array)));
    const haystack = Buffer.concat([...frames, Buffer.from(JSON.stringify(texts))]);
    const quantiser = { range: 4, steps: stepsFor(7), maxWeight: 32 };
    for (const { delta, samples } of clients) {
      const steps = quantised(delta, samples, quantiser, new Uint32Array(delta.length));
      for (const { buffer } of [delta, steps]) {
        const needle = Buffer.from(buffer);
        for (let i = 0; i + 8 <= needle.length; i += 4) {
          const part = needle.subarray(i, i + 8);
          assert.equal(haystack.includes(part), false);
          assert.equal(haystack.includes(part.toString("hex")), false);
        }
      }
    }
    const sorted = [...clients].sort((a, b) => (a.id < b.id ? -1 : 1));
    const told = sorted.map((client) => messagesOf(client, "unmask")[0]?.["shares"] as string[]);
    for (const [i, dealer] of sorted.entries()) {
      const [{ seed }] = messagesOf(dealer, "shares");
      const [{ mask }] = messagesOf(dealer, "keys");
      const shares = told.flatMap((given, holder) =>
        given?.[i] ? [[sorted[holder].id, { x: holder + 1, bytes: fromHex(given[i]) }]] : [],
      ) as [string, { x: number; bytes: Uint8Array }][];
      const isSeed = async (secret: Uint8Array) =>
        toHex(await commitmentOf(secret.slice())) === seed;
      const isKey = async (secret: Uint8Array) => toHex(await publicKeyOf(secret)) === mask;
      const ask = (isRight: typeof isSeed, some: typeof shares, threshold: number) =>
        recovered([{ client: dealer.id, shares: new Map(some), isRight }], threshold);
      assert.ok(await ask(isSeed, shares, t), "the sum was opened by these");
      assert.equal(await ask(isKey, shares, t), undefined);
      assert.equal(await ask(isSeed, shares.slice(0, t - 1), t - 1), undefined);
    }
    // No loss, norm or count of batches, and no hash of what was not masked.
    for (const { sent } of clients) {
      const types = sent.flatMap((one) => ("type" in one ? [String(one["type"])] : []));
      assert.ok(!types.includes("progress"));
      const [{ metrics }] = messagesOf(clients[0], "offer");
      assert.deepEqual(metrics, { lossBefore: 0, lossAfter: 0, activationNorms: [], seconds: 0 });
    }
  }));

test("a client that demands secure rounds of more clients takes no part", () =>
  withFleet(secureFleet(5, { rounds: 1 }, {}, { secureOnly: 6 }), async (fleet) => {
    await until(() => fleet.abandoned.length > 0);
    assert.equal(fleet.rounds.length, 0);
    assert.ok(fleet.clients.every((client) => messagesOf(client, "keys").length === 0));
    const [{ message }] = messagesOf(fleet.clients[0], "decline");
    assert.match(String(message), /a secure round of at least 6 clients/);
  }));

test("a client that demands secure rounds of more clients joins no ring of fewer", () => {
  const asRing = (message: Message): Message => {
    if (message.type !== "assign") return message;
    const { secure, ...settings } = message["settings"] as { readonly secure: string };
    const terms = { ...JSON.parse(secure), clients: 5, steps: 1 };
    const ring = { neighbours: 4, threshold: 3 };
    return { ...message, settings: { ...settings, secure: JSON.stringify({ ...terms, ring }) } };
  };
  return withFleet(
    secureFleet(5, { rounds: 1 }, { incoming: asRing }, { secureOnly: 6 }),
    async (fleet) => {
      await until(() => fleet.clients.every((one) => messagesOf(one, "decline").length > 0));
      const [{ message }] = messagesOf(fleet.clients[0], "decline");
      assert.match(String(message), /a secure round of at least 6 clients, got one of 5/);
    },
  );
});

test("a client that demands secure rounds declines others", () =>
  withFleet(secureFleet(4, { secure: false }, {}, { secureOnly: 4 }), async (fleet) => {
    await until(() => messagesOf(fleet.clients[0], "decline").length > 0);
    assert.ok(fleet.clients.every((client) => messagesOf(client, "offer").length === 0));
  }));

test("a client that demands secure rounds gives no statistics of its own", () =>
  withFleet(
    secureFleet(4, { secure: false, normalise: "channels" }, {}, { secureOnly: 4 }),
    async (fleet) => {
      await until(() => messagesOf(fleet.clients[0], "decline").length > 0);
      assert.ok(fleet.clients.every((client) => messagesOf(client, "report").length === 0));
    },
  ));

test("a client that cannot take part in secure rounds is told so", async () => {
  const f = await federation({ ...SECURE, minimum: 4 });
  try {
    const old = await f.client("old");
    old.send({ type: "ready" });
    const { reason } = await old.next("wait");
    assert.match(reason, /needs secure aggregation, which this client does not have/);
  } finally {
    await f.end();
  }
});

const REFUSED: readonly [string, GivenSettings, RegExp][] = [
  ["clients keep state", { algorithm: "scaffold" }, /"algorithm" expected one whose clients keep/],
  ["a rule looks at updates", { aggregate: "median", hostile: 0 }, /"aggregate" expected mean/],
  ["rounds are buffered", { mode: "buffered" }, /"mode" expected synchronous/],
  ["a codec shortens updates", { codec: "int8" }, /"codec" expected float32/],
  ["models are sent in halves", { modelCodec: "float16" }, /"modelCodec" expected float32/],
  ["norms are refused", { maxNorm: 1 }, /"maxNorm" expected 0/],
  ["updates are clipped", { clipUpdateNorm: 1 }, /"clipUpdateNorm" expected 0/],
  ["noise is added", { dpNoise: 1, dpClip: 1 }, /"dpNoise" expected nothing beside secure/],
  ["statistics come first", { normalise: "channels" }, /"normalise" expected none beside secure/],
];
for (const [why, settings, message] of REFUSED)
  test(`secure aggregation is refused at the start where ${why}`, async () => {
    const all = { evaluateFraction: 0, normalise: "none", secure: true, ...settings } as const;
    await assert.rejects(Aggregator.open({ model: tinyModel(), settings: all }), message);
  });
