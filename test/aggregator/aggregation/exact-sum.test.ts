import { test } from "node:test";
import assert from "node:assert/strict";
import fc from "fast-check";
import {
  addToFold,
  emptyFold,
  foldFromBytes,
  foldToBytes,
  gridOf,
  mergeInto,
  type Domain,
  type RoundFold,
} from "../../../aggregator/aggregation/exact-sum.js";
import {
  contributionOf,
  domainOf,
  foldFor,
} from "../../../aggregator/aggregation/weighted-mean.js";
import { asVector, beyond, normOf } from "../../../aggregator/aggregation/numbers.js";
import { int8, int8Blocks } from "../../../runtime/codecs/int8.js";
import { layoutOf } from "../../../runtime/tensors/layout.js";
import { plain, wasmArithmetic } from "../../../aggregator/aggregation/arithmetic.js";
import { fedavg } from "../../../runtime/algorithms/fedavg.js";
import { random } from "../../../runtime/tensors/random.js";

const domain: Domain = {
  size: 19,
  maxUpdates: 12,
  maxAbs: 100,
  maxWeight: { delta: 1000, control: 1 },
};

/** The same for updates that count with a part of their weight. */
const divided: Domain = {
  ...domain,
  parts: { delta: 2 ** 16, control: 2 ** 16 },
};

interface Update {
  client: string;
  delta: Float32Array;
  control: Float32Array;
  samples: number;
  /** Of 2^16. */
  parts: number;
}

/** Updates whose numbers differ wildly in size, so that the order would show. */
function updatesOf(seed: number, count: number): Update[] {
  const chance = random(seed, "updates");
  const vector = () =>
    Float32Array.from({ length: domain.size }, () => {
      const x = chance.normal() * 10 ** (chance.next() * 12 - 10);
      return Math.max(-100, Math.min(100, x));
    });
  return Array.from({ length: count }, (_, i) => ({
    client: `c${i}`,
    delta: vector(),
    control: vector(),
    samples: 1 + chance.integer(1000),
    parts: 1 + chance.integer(2 ** 16),
  }));
}

const add = (fold: RoundFold, u: Update): RoundFold => {
  const parts = fold.domain.parts && u.parts;
  addToFold(fold, u.client, `hash of ${u.client}`, {
    delta: { values: u.delta, weight: u.samples, parts },
    control: { values: u.control, weight: 1, parts },
  });
  return fold;
};

for (const [what, space] of [
  ["whole updates", domain],
  ["updates with a part of their weight", divided],
] as const)
  test(`${what}: any order and any tree of merges give the same bytes`, () => {
    fc.assert(
      fc.property(
        fc.integer(),
        fc.integer({ min: 1, max: 12 }),
        fc.array(fc.nat(), { minLength: 24, maxLength: 24 }),
        (seed, count, choices) => {
          const updates = updatesOf(seed, count);
          const straight = foldToBytes(updates.reduce(add, emptyFold(space)));
          const order = [...updates];
          for (let i = 0; i < count; i++) {
            const j = choices[i] % count;
            [order[i], order[j]] = [order[j], order[i]];
          }
          assert.deepEqual(foldToBytes(order.reduce(add, emptyFold(space))), straight);
          // One fold each, merged two by two as the choices say, every other one by way of its
          // bytes.
          const leaves = order.map((u) => add(emptyFold(space), u));
          for (let i = 0; leaves.length > 1; i++) {
            const a = leaves.splice(choices[12 + (i % 12)] % leaves.length, 1)[0];
            const at = choices[i % 12] % leaves.length;
            mergeInto(leaves[at], i % 2 ? a : foldFromBytes(foldToBytes(a)));
          }
          assert.deepEqual(foldToBytes(leaves[0]), straight);
        },
      ),
    );
  });

test("the sum is right to half a grid step per update", () => {
  const updates = updatesOf(7, 12);
  const fold = updates.reduce(add, emptyFold(domain));
  for (let i = 0; i < domain.size; i++) {
    // Exact, in integers of 2^-149, float32's smallest step.
    const exact = updates.reduce((sum, u) => sum + bigOf(u.delta[i]) * BigInt(u.samples), 0n);
    const got = bigOf(fold.sums["delta"][i]);
    const bound = (bigOf(gridOf(domain, "delta")) * 12n) / 2n;
    const error = got > exact ? got - exact : exact - got;
    assert.ok(error <= bound, `${i}: ${error} > ${bound}`);
  }
  assert.equal(
    fold.weights["delta"],
    updates.reduce((n, u) => n + u.samples, 0),
  );
  assert.equal(fold.weights["control"], 12);
});

/** x * 2^149 as an integer, for float32 values and grid sums. */
function bigOf(x: number): bigint {
  let power = 149;
  while (!Number.isInteger(x) && power > 0) {
    x *= 2;
    power--;
  }
  return BigInt(x) * 2n ** BigInt(power);
}

test("the grid holds the largest sum of the domain in 2^53 steps, and no coarser one would", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 100000 }),
      fc.integer({ min: 1, max: 2 ** 29 - 1 }),
      fc.double({ min: 1e-6, max: 1e6, noNaN: true }),
      (maxUpdates, weight, maxAbs) => {
        const grid = gridOf({ size: 1, maxUpdates, maxAbs, maxWeight: { x: weight } }, "x");
        const steps = (maxUpdates * weight * maxAbs) / grid;
        assert.ok(steps <= 2 ** 51 && steps > 2 ** 50, `${steps}`);
        assert.equal(Math.log2(grid), Math.round(Math.log2(grid)));
      },
    ),
  );
});

test("the extreme values of the domain fold exactly", () => {
  const edge: Domain = {
    size: 2,
    maxUpdates: 4,
    maxAbs: 128,
    maxWeight: { delta: 256 },
  };
  const fold = emptyFold(edge);
  for (let i = 0; i < 4; i++)
    addToFold(fold, `c${i}`, "", {
      delta: { values: Float32Array.of(128, -128), weight: 256 },
    });
  assert.deepEqual([...fold.sums["delta"]], [131072, -131072]);
});

test("what does not belong in a fold is refused, and leaves it as it was", () => {
  const [a, b] = updatesOf(3, 2);
  const fold = add(emptyFold(domain), a);
  const before = foldToBytes(fold);
  const values = new Float32Array(domain.size);
  const one = { values, weight: 1 };
  const refused = (work: () => unknown, message: RegExp) =>
    assert.throws(work, { name: "ModelError", code: "fold", message });
  refused(() => add(fold, a), /"c0" is in the fold already/);
  refused(() => addToFold(fold, "x", "", { delta: one }), /"control" expected/);
  refused(
    () =>
      addToFold(fold, "x", "", {
        delta: { values, weight: 1001 },
        control: one,
      }),
    /"weight" expected an integer from 1 to 1000, got 1001/,
  );
  refused(
    () =>
      addToFold(fold, "x", "", {
        delta: one,
        control: { values: values.subarray(1), weight: 1 },
      }),
    /"control" expected 19 numbers, got 18/,
  );
  refused(() => mergeInto(fold, fold), /"c0" is in both folds/);
  refused(
    () => mergeInto(fold, add(emptyFold({ ...domain, maxAbs: 200 }), b)),
    /"domain" expected/,
  );
  refused(
    () =>
      mergeInto(
        add(emptyFold({ ...domain, maxUpdates: 1 }), a),
        add(emptyFold({ ...domain, maxUpdates: 1 }), b),
      ),
    /"members" expected at most 1, got 2/,
  );
  assert.deepEqual(foldToBytes(fold), before);
});

test("bytes that are no fold are refused with a sentence", () => {
  const bytes = foldToBytes(add(emptyFold(domain), updatesOf(1, 1)[0]));
  for (let cut = 0; cut < bytes.length; cut += 13)
    assert.throws(() => foldFromBytes(bytes.subarray(0, cut)), {
      name: "ModelError",
    });
  const text = new TextDecoder("latin1").decode(bytes);
  const changed = text.replace('\\"maxAbs\\":100', '\\"maxAbs\\":-10');
  assert.notEqual(changed, text);
  assert.throws(
    () => foldFromBytes(Uint8Array.from(changed, (letter) => letter.charCodeAt(0))),
    /"maxAbs" expected a positive number, got -10/,
  );
});

test("FedAvg over the fold is the mean weighted by samples", () => {
  const { server } = fedavg;
  const limits = { size: 2, updates: 3, samples: 30, maxAbs: 8 };
  const fold = emptyFold(domainOf(server, limits));
  const updates = [
    { delta: Float32Array.of(1, -2), samples: 10 },
    { delta: Float32Array.of(0.5, 4), samples: 30 },
  ];
  updates.forEach(({ delta, samples }, i) =>
    addToFold(fold, `c${i}`, "", contributionOf(server, { delta }, samples)),
  );
  const { global } = server.finish({
    global: Float32Array.of(1, 1),
    fold: foldFor(fold),
    state: {},
    settings: {},
    population: 2,
  });
  assert.deepEqual([...global], [1.625, 3.5]);
});

test("FedBuff over the fold: s(tau) of what came, divided by the whole weights", () => {
  const { server } = fedavg;
  const staleness = 20;
  // k is 16, or what the largest weight leaves of 28 bits.
  for (const [samples, k] of [
    [30, 16],
    [2 ** 20, 8],
  ]) {
    const limits = { size: 2, updates: 3, samples, maxAbs: 8, staleness };
    const domain = domainOf(server, limits);
    assert.deepEqual(domain.parts, { delta: 2 ** k });
    const fold = emptyFold(domain);
    const updates = [
      { delta: Float32Array.of(1, -2), samples: 10, tau: 0 },
      { delta: Float32Array.of(0.5, 4), samples: 30, tau: 3 },
      { delta: Float32Array.of(-3, 1), samples: 20, tau: 20 },
    ];
    for (const { delta, samples, tau } of updates)
      addToFold(
        fold,
        `c${tau}`,
        "",
        contributionOf(server, { delta }, samples, { staleness: tau, domain }),
      );
    const { global } = server.finish({
      global: Float32Array.of(1, 1),
      fold: foldFor(fold),
      state: {},
      settings: {},
      population: 3,
    });
    // s(3) is 1/2 in any number of parts; s(20) = 0.21822 is 14301 of 2^16, 56 of 2^8.
    const s = k === 16 ? 14301 / 65536 : 56 / 256;
    const expected = [
      1 + (10 * 1 + 15 * 0.5 - 20 * s * 3) / 60,
      1 + (10 * -2 + 15 * 4 + 20 * s) / 60,
    ];
    assert.deepEqual([...global], expected.map(Math.fround));
  }
});

test("parts that are no power of two, too many for the weight, or more than there are, are refused", () => {
  const parts = (delta: number) => ({
    ...domain,
    parts: { delta, control: 1 },
  });
  for (const wrong of [3, 0, 2 ** 20])
    assert.throws(() => emptyFold(parts(wrong)), /"parts.delta" expected/);
  const fold = emptyFold(parts(4));
  const values = new Float32Array(domain.size);
  const control = { values, weight: 1 };
  for (const wrong of [0, 5, 1.5])
    assert.throws(
      () =>
        addToFold(fold, "c", "", {
          delta: { values, weight: 1, parts: wrong },
          control,
        }),
      /"parts" expected an integer from 1 to 4/,
    );
  assert.equal(fold.members.size, 0);
});

test("the WebAssembly kernels fold and look to the same bits as the plain loop", async () => {
  const wasm = await wasmArithmetic();
  assert.equal(wasm.build, "simd");
  const chance = random("kernels");
  // Lengths that reach the tail, the second iteration and the second slice.
  for (const size of [1, 2, 3, 4, 5, 31, 67, 65536, 65539, 140001]) {
    const large: Domain = { ...domain, size };
    const folds = [wasm, plain].map((arithmetic) => {
      const fold = emptyFold(large, arithmetic);
      const own = random("values", size);
      for (let i = 0; i < 3; i++) {
        const values = Float32Array.from({ length: size }, () => own.normal());
        addToFold(
          fold,
          `c${i}`,
          "",
          {
            delta: { values, weight: 1 + 333 * i },
            control: { values, weight: 1 },
          },
          arithmetic,
        );
      }
      return fold;
    });
    assert.deepEqual(folds[0].sums, folds[1].sums);
    const x = Float32Array.from({ length: size }, () => 100 * chance.normal());
    x[chance.integer(size)] = NaN;
    x[chance.integer(size)] = -Infinity;
    for (const limit of [50, 3.5e38])
      assert.equal(wasm.outOfRange(x, limit), plain.outOfRange(x, limit));
  }
});

test("blocks of bytes add up to the bits of the numbers that they stand for, by any kernels", async () => {
  const wasm = await wasmArithmetic();
  const chance = random("blocks");
  // Parameters of odd sizes, blocks that cross a slice of the kernels' memory, and a single one.
  for (const [sizes, block] of [
    [[5, 1, 300, 7], 256],
    [[262_100, 9, 3000], 256],
    [[270_001], 0],
  ] as const) {
    const parameters = sizes.map((size, i) => ({ name: `${i}.kernel`, shape: [size] }));
    const layout = layoutOf(parameters);
    const form = int8.form(layout, ["delta"], { block });
    const delta = Float32Array.from({ length: layout.size }, () => chance.normal());
    const bytes = form.encode({ delta }, { chance: chance.next });
    const { delta: decoded } = form.decode(bytes);
    const { delta: blocks } = int8Blocks(layout, ["delta"], { block })(bytes);
    assert.deepEqual(asVector(blocks), decoded);
    const sums = [wasm, plain].flatMap((arithmetic) =>
      [decoded, blocks].map((values) => {
        const fold = emptyFold(
          { ...domain, size: layout.size, maxWeight: { delta: 1e6 } },
          arithmetic,
        );
        for (const [i, weight] of [1, 999_983].entries())
          addToFold(fold, `c${i}`, "", { delta: { values, weight } }, arithmetic);
        return Float64Array.from(fold.sums["delta"]);
      }),
    );
    for (const sum of sums) assert.deepEqual(sum, sums[0]);
    for (const most of [0.5, 3, 100])
      assert.equal(beyond(blocks, most, wasm), plain.outOfRange(decoded, most));
    const norm = Math.sqrt(plain.squaredNorm(decoded));
    assert.ok(Math.abs(normOf(blocks, wasm) / norm - 1) < 1e-12);
  }
});
