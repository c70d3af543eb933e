import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { random } from "../../runtime/tensors/random.js";
import { makeDataset, type Dataset } from "../../runtime/data/dataset.js";
import {
  classCounts,
  parseSplit,
  splitRows,
  splitTable,
  type Split,
} from "../../runtime/data/split.js";

/** n examples of one number whose labels are given by a function of the row. */
function labelled(
  n: number,
  classes: number,
  label = (row: number) => row % classes,
  groups?: number[],
): Dataset {
  return makeDataset("test", {
    shape: [1],
    inputs: new Uint8Array(n),
    labels: Array.from({ length: n }, (_, row) => label(row)),
    classes: Array.from({ length: classes }, (_, i) => `class ${i}`),
    groups,
  });
}

const anySplit: fc.Arbitrary<Split> = fc.oneof(
  fc.constant<Split>({ kind: "iid" }),
  fc
    .double({ min: 1e-6, max: 100, noNaN: true })
    .map((delta): Split => ({ kind: "dirichlet", delta })),
  fc.integer({ min: 1, max: 4 }).map((perClient): Split => ({ kind: "shards", perClient })),
);

test("every split deals each row once, and the same seed deals it again", () => {
  fc.assert(
    fc.property(
      anySplit,
      fc.integer({ min: 1, max: 12 }),
      fc.integer({ min: 0, max: 300 }),
      fc.integer({ min: 1, max: 9 }),
      fc.nat(),
      (how, clients, more, classes, seed) => {
        const n = 4 * clients + more;
        const data = labelled(n, classes, (row) => (row * row) % classes);
        const parts = splitRows(data, how, clients, seed);
        assert.equal(parts.length, clients);
        assert.deepEqual(
          parts.flatMap((rows) => [...rows]).sort((a, b) => a - b),
          [...Array(n).keys()],
        );
        if (how.kind !== "shards") {
          const sizes = parts.map((rows) => rows.length);
          assert.ok(Math.max(...sizes) - Math.min(...sizes) <= 1);
        }
        assert.deepEqual(splitRows(data, how, clients, seed), parts);
      },
    ),
    { numRuns: 200 },
  );
});

test("another seed deals another split", () => {
  const data = labelled(400, 10);
  for (const text of ["iid", "dirichlet:0.3", "shards:2"])
    assert.notDeepEqual(
      splitRows(data, parseSplit(text), 10, 1),
      splitRows(data, parseSplit(text), 10, 2),
    );
});

test("a small delta gives clients of few classes, a large one clients like the whole", () => {
  const data = labelled(20_000, 10);
  /**
   * Mean over clients of the sum of squared class shares: 1 for one class, 0.1 for ten equal ones.
   */
  const concentration = (how: string) => {
    const counts = classCounts(data, splitRows(data, parseSplit(how), 20, 7));
    const shares = counts.map((mine) => mine.reduce((sum, count) => sum + (count / 1000) ** 2, 0));
    return shares.reduce((a, b) => a + b) / shares.length;
  };
  // E[sum p^2] of Dir(delta) over 10 classes is (delta + 1) / (10 delta + 1): 0.325 at 0.3, 0.109
  // at 10. Classes run out, which flattens the clients that fill last: the mean lies below that,
  // and above the even 0.1.
  const skewed = concentration("dirichlet:0.3");
  assert.ok(skewed > 0.22 && skewed < 0.325, String(skewed));
  assert.ok(Math.abs(concentration("dirichlet:10") - 0.109) < 0.01);
  assert.ok(concentration("dirichlet:0.001") > 0.45);
  assert.ok(Math.abs(concentration("iid") - 0.1) < 0.005);
});

/**
 * The split of algorithms.md by the letter and slowly, as Acar et al.'s code does it: a random
 * client, again while it is full; a class from its prior, again while that is used up. Gamma(shape
 * < 1) by Jöhnk's method. Returns classes per client.
 */
function dirichletByRejection(
  labels: Int32Array,
  classes: number,
  clients: number,
  delta: number,
  seed: number,
): number[][] {
  const { next } = random("reference", seed);
  const gamma = (): number => {
    for (;;) {
      const x = next() ** (1 / delta);
      const y = next() ** (1 / (1 - delta));
      if (x + y > 0 && x + y <= 1) return (-Math.log(1 - next()) * x) / (x + y);
    }
  };
  const priors = Array.from({ length: clients }, () => {
    const masses = Array.from({ length: classes }, gamma);
    const sum = masses.reduce((a, b) => a + b);
    return masses.map((mass) => mass / sum);
  });
  const left = new Array(classes).fill(0);
  for (const label of labels) left[label]++;
  const counts = priors.map(() => new Array<number>(classes).fill(0));
  const room = counts.map(() => labels.length / clients);
  for (let placed = 0; placed < labels.length;) {
    const client = Math.floor(next() * clients);
    if (room[client] === 0) continue;
    room[client]--;
    for (;;) {
      let draw = next();
      const label = priors[client].findIndex((mass) => (draw -= mass) < 0);
      if (label < 0 || left[label] === 0) continue;
      left[label]--;
      counts[client][label]++;
      break;
    }
    placed++;
  }
  return counts;
}

test("the Dirichlet split is distributed as the paper's code deals it", () => {
  // With a much smaller delta the letter of it may draw for ever: a client whose prior is all but
  // used up.
  const [clients, classes, delta, runs] = [10, 10, 0.8, 150];
  const data = labelled(600, classes);
  const statistics = (deal: (seed: number) => ArrayLike<number>[]) => {
    const values = Array.from({ length: runs }, (_, seed) => {
      const shares = deal(seed).flatMap((mine) => Array.from(mine));
      return {
        squared: shares.reduce((sum, count) => sum + (count / 60) ** 2, 0),
        absent: shares.filter((count) => count === 0).length,
      };
    });
    return (["squared", "absent"] as const).map((name) => {
      const mean = values.reduce((sum, value) => sum + value[name], 0) / runs;
      const variance =
        values.reduce((sum, value) => sum + (value[name] - mean) ** 2, 0) / (runs - 1);
      return { mean, error: Math.sqrt(variance / runs) };
    });
  };
  const ours = statistics((seed) =>
    classCounts(data, splitRows(data, { kind: "dirichlet", delta }, clients, seed)),
  );
  const theirs = statistics((seed) =>
    dirichletByRejection(data.labels, classes, clients, delta, seed),
  );
  ours.forEach(({ mean, error }, i) => {
    const apart = Math.abs(mean - theirs[i].mean);
    const allowed = 4 * Math.hypot(error, theirs[i].error);
    assert.ok(apart < allowed, `${mean} and ${theirs[i].mean}, ${allowed} apart`);
  });
});

test("two shards per client hold at most two classes where shards divide the classes", () => {
  const data = labelled(1000, 10);
  for (const counts of classCounts(data, splitRows(data, parseSplit("shards:2"), 10, 3)))
    assert.ok(counts.filter((count) => count > 0).length <= 2);
});

test("groups become clients in ascending order", () => {
  const data = labelled(6, 2, undefined, [7, 3, 7, 12, 3, 7]);
  const parts = splitRows(data, { kind: "groups" }, undefined, 1);
  assert.deepEqual(
    parts.map((rows) => [...rows]),
    [[1, 4], [0, 2, 5], [3]],
  );
  assert.deepEqual(splitRows(data, { kind: "groups" }, 3, 9), parts);
  assert.throws(() => splitRows(data, { kind: "groups" }, 4, 1), {
    name: "ConfigError",
    code: "clients",
    message: '"clients" expected 3, one per group of the data, got 4',
  });
  assert.throws(() => splitRows(labelled(4, 2), { kind: "groups" }, undefined, 1), {
    name: "DataError",
    code: "group",
  });
});

test("what cannot be dealt is refused", () => {
  const data = labelled(5, 2);
  assert.throws(() => splitRows(data, { kind: "iid" }, 6, 1), {
    name: "DataError",
    code: "count",
    message: '"split" expected at least 6 examples for 6 clients, got 5',
  });
  for (const clients of [0, -1, 1.5, NaN, undefined])
    assert.throws(() => splitRows(data, { kind: "iid" }, clients, 1), {
      name: "ConfigError",
      code: "clients",
    });
});

test("parseSplit reads the four forms and nothing else", () => {
  assert.deepEqual(parseSplit("iid"), { kind: "iid" });
  assert.deepEqual(parseSplit("groups"), { kind: "groups" });
  assert.deepEqual(parseSplit("dirichlet:0.3"), {
    kind: "dirichlet",
    delta: 0.3,
  });
  assert.deepEqual(parseSplit("shards:2"), { kind: "shards", perClient: 2 });
  for (const wrong of [
    "",
    "IID",
    "iid:1",
    "dirichlet",
    "dirichlet:",
    "dirichlet:0",
    "dirichlet:-1",
    "dirichlet:x",
    "dirichlet:Infinity",
    "dirichlet:1:2",
    "shards:0",
    "shards:1.5",
    "groups:2",
  ])
    assert.throws(() => parseSplit(wrong), {
      name: "ConfigError",
      code: "split",
    });
});

test("the table names each client's most frequent classes", () => {
  const data = labelled(6, 3, (row) => [0, 0, 1, 2, 2, 2][row]);
  assert.equal(
    splitTable(data, [Uint32Array.of(0, 1, 2), Uint32Array.of(3, 4, 5)]),
    [
      "client  samples  classes  most frequent",
      "     0        3        2  class 0 2, class 1 1",
      "     1        3        1  class 2 3",
    ].join("\n"),
  );
});
